"""Simple preference optimisation for ftk."""
