"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ftk.problems import RunError


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path beside ``path`` that takes its place when the block ends well. Raises RunError for a disk that refuses."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".ftk-", suffix=path.suffix)
        os.close(handle)
        try:
            yield Path(name)
            os.chmod(name, 0o666 & ~_umask())  # temporary files are their owner's alone
            os.replace(name, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
    except OSError as e:
        raise RunError(f"cannot write {path}: {e.strerror or e}", "name another file") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
