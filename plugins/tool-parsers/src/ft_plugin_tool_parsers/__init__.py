"""Answers read back into content, thoughts and tool calls."""
