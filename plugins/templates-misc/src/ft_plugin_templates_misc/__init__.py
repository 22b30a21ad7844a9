"""Chat templates of smaller families, from Alpaca to Yuan."""
