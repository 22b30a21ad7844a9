"""Pre-training on raw text for ftk."""
