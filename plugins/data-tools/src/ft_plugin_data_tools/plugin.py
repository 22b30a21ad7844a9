"""What this plugin offers: the commands of ``ftk data``, which are entry points, and no component of a run."""

from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return []
