"""Freeze tuning for ftk."""
