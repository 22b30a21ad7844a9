"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="source",
            name="local",
            target="ft_plugin_source_local.source:LocalSource",
            summary="Rows from json, jsonl, csv, parquet, arrow and txt files, or folders of them",
        )
    ]
