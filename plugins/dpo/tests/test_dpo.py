from ft_plugin_dpo import plugin
from ftk.contracts import Example
from ftk_sdk.contracts import PluginContract, StageContract


class TestPlugin(PluginContract):
    plugin = plugin


PROMPT = [{"role": "user", "content": "hello"}]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class TestStage(StageContract):
    component = "stage:dpo"
    keys = {"template": "chatml"}
    rows = tuple(
        {"instruction": f"Say the number {n} in words", "chosen": word, "rejected": "I will not" + " say" * (n % 3)}
        for n, word in enumerate(WORDS)
    )
    example = Example(
        messages=[*PROMPT, {"role": "assistant", "content": "what"}, *PROMPT],
        chosen=[{"role": "assistant", "content": "the fox"}],
        rejected=[{"role": "assistant", "content": "lazy dog"}],
    )
    loss_on = {"chosen_labels": ["the fox<|im_end|>"], "rejected_labels": ["lazy dog<|im_end|>"]}
