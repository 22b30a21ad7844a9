"""One line of JSON for every run, with its metrics or its error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftk.markers import hookimpl

from .config import SkeletonNameConfig

if TYPE_CHECKING:
    from ftk.contracts import Result
    from ftk.run import Run


class SkeletonName:
    @hookimpl
    def ftk_run_finished(self, run: Run, result: Result) -> None:
        tell(run, {"metrics": result.metrics})

    @hookimpl
    def ftk_run_failed(self, run: Run, error: BaseException) -> None:
        tell(run, {"error": f"{type(error).__name__}: {error}"})


def tell(run: Run, what: dict[str, Any]) -> None:
    """Add a line to the file."""
    path = Path(str(run.config[SkeletonNameConfig].skeleton_name_file))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"output_dir": str(run.output_dir), **what}) + "\n")
