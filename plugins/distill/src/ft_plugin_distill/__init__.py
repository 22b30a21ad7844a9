"""Distillation for ftk."""
