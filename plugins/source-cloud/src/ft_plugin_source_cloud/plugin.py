"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from ft_plugin_data.config import DataConfig
from ft_plugin_data.registry import Unusable, find
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

if TYPE_CHECKING:
    from ftk.plan import Plan

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "oci": "ocifs"}
"""Protocols that fsspec leaves to other packages."""


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="source",
            name="cloud",
            target="ft_plugin_source_cloud.files:CloudSource",
            summary="Rows of files at an address: https, s3, gs, ...",
        )
    ]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    cfg = plan.config[DataConfig]
    problems = []
    for key, names in (("dataset", cfg.dataset), ("eval_dataset", cfg.eval_dataset)):
        for name in names or ():
            try:
                spec = find(name, cfg.dataset_dir)
            except Unusable:
                continue  # the data plugin says so
            package = PACKAGES.get(spec.location.partition("://")[0])
            if spec.source == "cloud" and package and find_spec(package) is None:
                message = f"dataset {name!r}: {spec.location} needs the package {package!r}"
                problems.append(Problem("error", message, f"pip install {package}", key))
    return problems
