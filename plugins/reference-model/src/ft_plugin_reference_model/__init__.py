"""Reference models for ftk."""
