"""Generation with transformers for ftk."""
