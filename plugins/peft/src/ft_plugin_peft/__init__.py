"""Adapters of peft for ftk."""
