"""Predictions for ftk."""
