"""Rows from files at an address: https, s3, gs and whatever fsspec knows."""
