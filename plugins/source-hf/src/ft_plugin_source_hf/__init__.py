"""The Hugging Face datasets hub for ftk."""
