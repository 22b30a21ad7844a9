"""Merged export for ftk."""
