from ft_plugin_simpo import plugin
from ftk.contracts import Example
from ftk_sdk.contracts import PluginContract, StageContract


class TestPlugin(PluginContract):
    plugin = plugin


WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class TestStage(StageContract):
    component = "stage:simpo"
    keys = {"template": "chatml"}
    rows = tuple(
        {"instruction": f"Say the number {n} in words", "chosen": word, "rejected": "I will not" + " say" * (n % 3)}
        for n, word in enumerate(WORDS)
    )
    example = Example(
        messages=[{"role": "user", "content": "hello"}],
        chosen=[{"role": "assistant", "content": "the fox"}],
        rejected=[{"role": "assistant", "content": "lazy dog"}],
    )
    loss_on = {"chosen_labels": ["the fox<|im_end|>"], "rejected_labels": ["lazy dog<|im_end|>"]}
