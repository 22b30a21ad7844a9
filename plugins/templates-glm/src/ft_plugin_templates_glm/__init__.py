"""Chat templates of GLM."""
