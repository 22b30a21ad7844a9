"""Models and tokenizers of transformers for ftk."""
