"""Chat templates of DeepSeek."""
