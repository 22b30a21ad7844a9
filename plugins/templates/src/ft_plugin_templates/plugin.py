"""What this plugin offers. Imports nothing heavy."""

from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

from .config import TemplateConfig
from .pack import read, template_components


@hookimpl
def ftk_components() -> list[Component]:
    auto = Component(
        kind="template",
        name="auto",
        target="ft_plugin_templates.load:TokenizerTemplate",
        summary="the tokenizer's own prompt format",
        default=True,
    )
    return [auto, *template_components(__package__)]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_templates.config:TemplateConfig"]


@hookimpl
def ftk_check(plan) -> list[Problem]:
    wanted = plan.config[TemplateConfig].tool_format
    problems = []
    for component in plan.of_kind("template"):
        if not wanted or "package" not in component.args:
            continue
        has = read(component.args["package"], component.args["name"]).tool_parser
        if wanted != has:
            message = (
                f"tool_format={wanted!r}, but template {component.name!r} writes tool calls as {has or 'nothing'!r}"
            )
            problems.append(
                Problem("error", message, "unset tool_format, or choose another template", key="tool_format")
            )
    return problems
