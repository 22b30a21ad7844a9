"""Rewards for ftk."""
