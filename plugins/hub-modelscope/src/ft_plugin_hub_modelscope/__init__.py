"""Models from ModelScope for ftk."""
