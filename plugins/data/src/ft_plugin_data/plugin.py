"""What this plugin offers. Imports nothing heavy."""

from ftk.aliases import Alias
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

from .checks import check
from .config import DataConfig
from .registry import Unusable, find


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="dataset",
            name="map",
            target="ft_plugin_data.dataset:MapDatasets",
            summary="Open, format, encode, mix and split the datasets that the config names",
            section="data",
            default=True,
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_data.config:DataConfig"]


@hookimpl
def ftk_aliases() -> list[Alias]:
    return [Alias(old="max_seq_length", new="cutoff_len", note="another name of 'cutoff_len'", silent=True)]


@hookimpl
def ftk_select(config) -> list[str]:
    cfg = config[DataConfig]
    wanted = []
    for name in [*(cfg.dataset or ()), *(cfg.eval_dataset or ())]:
        try:
            spec = find(name, cfg.dataset_dir)
        except Unusable:
            continue  # ftk_check says what is wrong with it
        formats = [spec.formatting] if spec.formatting else ["alpaca", "openai", "sharegpt"]
        wanted += [f"source:{spec.source}", *(f"format:{name}" for name in formats)]
    return list(dict.fromkeys(wanted))


@hookimpl
def ftk_check(plan) -> list[Problem]:
    return check(plan.config) if plan.action == "train" else []
