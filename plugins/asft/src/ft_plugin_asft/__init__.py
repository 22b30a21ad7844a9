"""Anchored supervised fine-tuning for ftk."""
