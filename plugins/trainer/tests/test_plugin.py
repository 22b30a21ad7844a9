import importlib.metadata

import pytest

from ft_plugin_trainer import plugin
from ftk.discover import discover
from ftk.metadata import GROUP
from ftk.problems import ConfigError
from ftk_sdk.contracts import AddonContract, PluginContract
from ftk_sdk.testing import make_plan


class TestPlugin(PluginContract):
    plugin = plugin


class TestPlotLoss(AddonContract):
    component = "addon:plot-loss"
    keys = {"plot_loss": True}


class TestEarlyStopping(AddonContract):
    component = "addon:early-stopping"
    keys = {"early_stopping_steps": 3, "eval_strategy": "steps"}


def test_an_optimizer_of_a_plugin_that_is_not_installed_names_it():
    others = [e for e in importlib.metadata.entry_points(group=GROUP) if e.name not in ("torch-optim", "muon")]
    found = discover(others)
    with pytest.raises(ConfigError, match=r"optim: 'muon' is provided by ft-plugin-torch-optim\n +pip install"):
        make_plan({"optim": "muon"}, components=["trainer:transformers"], plugins=found)
    for name in ("sgd", "adafactor", "adamw_torch", "named_tomorrow"):
        make_plan({"optim": name}, components=["trainer:transformers"], plugins=found)
