"""Dynamic fine-tuning for ftk."""
