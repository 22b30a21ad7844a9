"""Chat templates for ftk."""
