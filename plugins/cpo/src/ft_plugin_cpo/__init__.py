"""Contrastive preference optimisation for ftk."""
