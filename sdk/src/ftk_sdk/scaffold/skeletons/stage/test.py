from ft_plugin_skeleton_name import plugin

from ftk.contracts import Example
from ftk_sdk.contracts import PluginContract, StageContract

CONVERSATION = Example(
    messages=(
        {"role": "user", "content": "What is 2 + 3?"},
        {"role": "assistant", "content": "Five"},
        {"role": "user", "content": "And 3 + 4?"},
        {"role": "assistant", "content": "Seven"},
    )
)


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(StageContract):
    component = "stage:skeleton-name"
    example = CONVERSATION
    loss_on = {"labels": ["Seven<|im_end|>"]}
