"""Local files for ftk."""
