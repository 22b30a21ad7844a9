from ft_plugin_trainer import plugin
from ftk_sdk.contracts import AddonContract, PluginContract


class TestPlugin(PluginContract):
    plugin = plugin


class TestPlotLoss(AddonContract):
    component = "addon:plot-loss"
    keys = {"plot_loss": True}


class TestEarlyStopping(AddonContract):
    component = "addon:early-stopping"
    keys = {"early_stopping_steps": 3, "eval_strategy": "steps"}
