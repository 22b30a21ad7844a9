"""Looking at training data, for ftk."""
