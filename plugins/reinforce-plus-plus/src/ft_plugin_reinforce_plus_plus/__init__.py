"""REINFORCE++ for ftk."""
