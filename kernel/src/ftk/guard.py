"""Run a stranger's declaration without letting it stop, slow down or dirty the process."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import threading
from collections.abc import Iterator

HEAVY = frozenset(
    {"torch", "transformers", "peft", "trl", "datasets", "accelerate", "pydantic", "numpy", "tensorflow", "jax"}
)
"""What a declaration must not import: seconds at every command, for a plugin that the run may not use."""

LIMIT = 5.0
"""Seconds after which a declaration is interrupted. Real ones take some milliseconds."""


class Misbehaved(Exception):
    """Why a plugin is quarantined. The text is shown to the user."""


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Turn everything that a declaration can do wrong into Misbehaved, apart from a keyboard interrupt."""
    before = set(sys.modules)
    printed = io.StringIO()
    try:
        with _time_limit(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield
    except (KeyboardInterrupt, Misbehaved):
        raise
    except _TooSlow:
        raise Misbehaved(f"took longer than {LIMIT:.0f} s to declare itself") from None
    except SystemExit as e:
        raise Misbehaved(f"calls sys.exit({e.code!r}) while it is imported") from None
    except BaseException as e:
        raise Misbehaved(f"{type(e).__name__}: {e}") from e
    if heavy := sorted(HEAVY & (set(sys.modules) - before)):
        raise Misbehaved(f"imports {', '.join(heavy)} while it is declared; move that to the component's target")
    if text := printed.getvalue().strip():
        raise Misbehaved(f"prints while it is declared: {text.splitlines()[0][:80]!r}")


class _TooSlow(BaseException):
    pass


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield  # nowhere to deliver the signal; the declaration runs unbounded
        return

    def interrupt(signum: int, frame: object) -> None:
        raise _TooSlow

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
