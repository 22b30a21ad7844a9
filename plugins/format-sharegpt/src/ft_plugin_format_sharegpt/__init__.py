"""The sharegpt data format for ftk."""
