"""Chat templates of Llama 2, Llama 3.2 Vision and Llama 4."""
