"""Differences between versions of libraries, each with the condition for deleting it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """peft 0.21 asks models for ``is_gradient_checkpointing``, about which transformers 5.23 warns.

    Delete when peft asks for ``is_activation_checkpointing``.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        yield
