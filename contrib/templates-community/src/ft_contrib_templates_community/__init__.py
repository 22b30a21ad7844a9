"""Chat templates contributed by users of ftk."""
