"""Trying configs on shrunken models."""
