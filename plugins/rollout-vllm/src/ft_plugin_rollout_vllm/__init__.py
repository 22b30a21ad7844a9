"""Completions by vLLM while training."""
