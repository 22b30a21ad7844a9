"""Chat templates of LLaVA, LLaVA-NeXT and Video-LLaVA."""
