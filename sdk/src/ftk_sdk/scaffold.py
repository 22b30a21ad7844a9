"""Scaffold."""


def new() -> None:
    raise NotImplementedError
