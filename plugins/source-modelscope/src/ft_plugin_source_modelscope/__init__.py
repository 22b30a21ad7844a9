"""Rows from datasets of ModelScope."""
