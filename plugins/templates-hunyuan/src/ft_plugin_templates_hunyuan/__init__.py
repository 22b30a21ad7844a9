"""Chat templates of Hunyuan."""
