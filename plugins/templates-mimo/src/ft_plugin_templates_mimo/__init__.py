"""Chat templates of MiMo."""
