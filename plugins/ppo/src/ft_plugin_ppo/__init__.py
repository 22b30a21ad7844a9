"""Proximal policy optimisation for ftk."""
