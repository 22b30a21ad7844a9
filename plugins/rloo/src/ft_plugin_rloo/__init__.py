"""RLOO for ftk."""
