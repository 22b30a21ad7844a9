"""What this plugin offers. Imports nothing heavy."""

from ftk.aliases import Alias
from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="stage",
            name="pt",
            target="ft_plugin_pt.stage:Pt",
            summary="Pre-training: cross-entropy of every token of raw text",
            requires=("trainer:transformers",),
        )
    ]


@hookimpl
def ftk_aliases() -> list[Alias]:
    return [Alias(old="stage", new="stage", values={"pretrain": "pt"}, note="another name of 'pt'", silent=True)]
