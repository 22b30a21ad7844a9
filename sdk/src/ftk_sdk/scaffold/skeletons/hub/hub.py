"""Where a model of this hub is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ftk.contracts import ModelLocation
from ftk.markers import hookimpl
from ftk.problems import RunError

from .config import PREFIX, SkeletonNameConfig

if TYPE_CHECKING:
    from ftk.run import Run


class SkeletonName:
    @hookimpl
    def ftk_locate_model(self, run: Run, name: str) -> ModelLocation | None:
        if not name.startswith(PREFIX):
            return None  # not of this hub: another one, or the loader itself, may know it
        wanted = name.removeprefix(PREFIX)
        root = Path(run.config[SkeletonNameConfig].skeleton_name_root)
        there = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        if wanted not in there:
            raise RunError(f"no model {wanted!r} in {str(root)!r}", f"it has: {', '.join(there) or 'none'}")
        return ModelLocation(path=str(root / wanted))
