"""Skeletons of plugins, one folder for each kind: what `ftk new` copies."""
