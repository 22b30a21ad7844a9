"""Datasets for ftk."""
