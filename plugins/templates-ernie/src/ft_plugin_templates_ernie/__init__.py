"""Chat templates of ERNIE."""
