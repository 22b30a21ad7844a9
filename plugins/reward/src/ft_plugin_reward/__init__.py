"""Reward models for stages that learn from scores, for ftk."""
