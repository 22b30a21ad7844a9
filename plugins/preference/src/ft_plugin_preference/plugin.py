"""What this plugin offers: keys and aliases. Stages build on its other modules. Imports nothing heavy."""

from ftk.aliases import Alias
from ftk.markers import hookimpl

_OLD = {"dpo_beta": "pref_beta", "orpo_beta": "pref_beta", "dpo_ftx": "pref_ftx", "dpo_loss": "pref_loss"}


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_preference.config:PreferenceConfig"]


@hookimpl
def ftk_aliases() -> list[Alias]:
    return [Alias(old=old, new=new, note=f"an old name of {new!r}") for old, new in _OLD.items()]
