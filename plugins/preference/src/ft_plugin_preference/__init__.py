"""Learning from pairs of answers, for ftk."""
