"""Chat templates of Qwen."""
