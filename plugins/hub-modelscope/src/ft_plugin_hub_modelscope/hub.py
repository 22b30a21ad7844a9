"""Names of models on ModelScope as folders that its own package downloads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from modelscope import snapshot_download

from ft_plugin_hf.config import HfConfig
from ftk.contracts import ModelLocation
from ftk.markers import hookimpl
from ftk.problems import RunError

from .names import id_of

if TYPE_CHECKING:
    from ftk.run import Run

BRANCHES = {"main": "master"}
"""What the default branch of other hubs is called on this one."""
REFUSED = ("HTTPError", "NotExistError", "AuthenticationError", "PermissionDeniedError", "NotLoginException")
"""Exceptions of several versions of the package that say no, by name: not all have all of them."""


class ModelScopeHub:
    @hookimpl
    def ftk_locate_model(self, run: Run, name: str) -> ModelLocation | None:
        try:
            repo = id_of(name)
        except ValueError as e:
            raise RunError(f"model_name_or_path: {e}") from None
        if repo is None:
            return None
        cfg = run.config[HfConfig]
        options: dict[str, Any] = {"revision": BRANCHES.get(cfg.model_revision, cfg.model_revision)}
        options |= {"cache_dir": cfg.cache_dir} if cfg.cache_dir else {}
        options |= {"token": cfg.ms_hub_token} if cfg.ms_hub_token else {}
        run.logger.info("%s: from ModelScope, revision %s", repo, options["revision"])
        return ModelLocation(path=downloaded(repo, options))


def downloaded(repo: str, options: dict[str, Any]) -> str:
    """The folder of a model, downloaded if it is not there yet. Raises RunError."""
    try:
        lock = lock_file()
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):  # several processes of a run, and versions of the package that do not lock
            return str(snapshot_download(repo, **options))
    except Exception as e:
        text = " ".join(str(e).split())[:200] or type(e).__name__
        if {c.__name__ for c in type(e).__mro__} & set(REFUSED):
            hint = "check the name and model_revision; for a private one set ms_hub_token"
            raise RunError(f"ModelScope has no model {repo!r} for this user: {text}", hint) from e
        hint = "check the connection, or download it elsewhere and give the folder"
        raise RunError(f"cannot get {repo!r} from ModelScope: {text}", hint) from e


def lock_file() -> Path:
    base = os.environ.get("FTK_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ftk"
    return Path(base).expanduser() / "modelscope.lock"
