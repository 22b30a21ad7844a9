"""Reward models for ftk."""
