"""Packing for ftk."""
