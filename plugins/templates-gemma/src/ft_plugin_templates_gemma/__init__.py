"""Chat templates of Gemma and PaliGemma."""
