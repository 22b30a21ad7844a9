"""Models from a package index for ftk."""
