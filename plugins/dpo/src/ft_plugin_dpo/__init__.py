"""Direct preference optimisation for ftk."""
