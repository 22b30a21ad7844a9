"""Supervised fine-tuning for ftk."""
