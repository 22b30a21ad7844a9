"""Kahneman-Tversky optimisation for ftk."""
