"""Full fine-tuning for ftk."""
