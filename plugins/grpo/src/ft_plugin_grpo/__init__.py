"""Group-relative policy optimisation for ftk."""
