"""LoRA for ftk."""
