"""Keeps what is generated from the plugins of this repository fresh: ``python -m ftk_sdk.maintain``."""
