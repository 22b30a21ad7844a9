import torch
from ft_plugin_skeleton_name import plugin
from ft_plugin_skeleton_name.export import write_whole
from safetensors.torch import load_file

from ftk_sdk.contracts import ExporterContract, PluginContract
from ftk_sdk.tiny import tiny_llama


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(ExporterContract):
    component = "exporter:skeleton-name"

    def keys_for(self, folder):
        return {"skeleton_name_file": str(folder / "model.safetensors")}


def test_the_file_holds_every_weight(tmp_path):
    model = tiny_llama()
    write_whole(model, tmp_path / "model.safetensors")
    weights = load_file(tmp_path / "model.safetensors")
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
