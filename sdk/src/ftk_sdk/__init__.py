"""For authors of ftk plugins: contracts to test against, tiny models, a scaffold."""
