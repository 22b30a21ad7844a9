"""The openai data format for ftk."""
