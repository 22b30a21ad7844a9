"""Odds-ratio preference optimisation for ftk."""
