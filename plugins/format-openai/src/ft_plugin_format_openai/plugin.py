"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="format",
            name="openai",
            target="ft_plugin_format_openai.openai:OpenAIFormat",
            summary="Rows with a conversation in the form of the OpenAI chat API",
        )
    ]
