"""Optimizers of torch for ftk."""
