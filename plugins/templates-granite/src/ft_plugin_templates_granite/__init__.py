"""Chat templates of Granite 3, 4 and Granite Vision."""
