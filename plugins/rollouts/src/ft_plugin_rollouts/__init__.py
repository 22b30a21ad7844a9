"""Answers of the model that is being trained, for stages that learn from them."""
