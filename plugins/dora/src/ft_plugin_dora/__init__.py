"""DoRA for ftk."""
