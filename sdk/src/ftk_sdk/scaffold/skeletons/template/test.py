from ft_plugin_skeleton_name import plugin

from ftk_sdk.contracts import PluginContract, TemplateContract

GOLDEN = """\
<|im_start|>system
You answer in one word.<|im_end|>
<|im_start|>user
What is 2 + 3?<|im_end|>
<|im_start|>assistant
Five<|im_end|>
<|im_start|>user
And the capital of France?<|im_end|>
<|im_start|>assistant
Paris<|im_end|>
"""


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(TemplateContract):
    component = "template:skeleton-name"
    golden = GOLDEN
    tokens = ()  # control tokens of your model that the tests' tokenizer lacks
