"""Hook specifications, grouped by phase."""
