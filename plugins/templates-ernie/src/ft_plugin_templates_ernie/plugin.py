"""What this pack offers: a template for each file in templates/."""

from ft_plugin_templates.pack import template_components
from ftk.component import Component
from ftk.markers import hookimpl


@hookimpl
def ftk_components() -> list[Component]:
    return template_components(__package__)
