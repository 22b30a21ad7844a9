"""A reward that runs tests, for ftk."""
