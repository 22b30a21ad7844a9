"""Rows from datasets of Modelers (openMind)."""
