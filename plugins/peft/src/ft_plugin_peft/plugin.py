"""What this plugin offers. Imports nothing heavy."""

from ftk.markers import hookimpl


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_peft.config:AdapterConfig"]
