"""Entropy-adaptive fine-tuning for ftk."""
