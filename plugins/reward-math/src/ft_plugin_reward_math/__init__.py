"""A reward for mathematical answers, for ftk."""
