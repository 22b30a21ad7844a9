"""The components: a parser by its name, or the one that a template needs."""

from __future__ import annotations

from ft_plugin_templates.engine import ChatTemplate
from ftk.contracts import Template, ToolParser
from ftk.markers import hookimpl
from ftk.problems import RunError

from .formats import NAMES, parser_of
from .roundtrip import suits, tried


class Named:
    """The parser of one format, asked for with ``tool_format``."""

    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def ftk_tool_parser(self, run, template: Template) -> ToolParser:
        parser = parser_of(self.name, thought_of(template))
        read = tried(parser, template)
        if read is not None and not suits(read):
            raise RunError(
                f"tool_format={self.name!r} does not read the tool calls that template {template.name!r} writes",
                "unset tool_format: the format is found out",
            )
        return parser


class Auto:
    """The parser that the template names; for a template of unknown making, the first that reads its calls back."""

    @hookimpl
    def ftk_tool_parser(self, run, template: Template) -> ToolParser | None:
        thought = thought_of(template)
        named = template.facts.tool_parser if isinstance(template, ChatTemplate) else ""
        if named in NAMES:
            return parser_of(named, thought)
        if named:
            raise RunError(
                f"template {template.name!r} needs the tool parser {named!r}, which this plan does not hold",
                f"install the plugin that has it, and set tool_format: {named}",
            )
        reads = ((name, tried(parser_of(name, thought), template)) for name in NAMES)
        fits = [(len(read.content), name) for name, read in reads if read is not None and suits(read)]
        if not fits:
            return None
        _, name = min(fits, key=lambda pair: pair[0])  # what it leaves as text, it did not understand
        run.logger.info("tool calls are read as those of %r", name)
        return parser_of(name, thought)


def thought_of(template: Template) -> tuple[str, str] | None:
    thought = template.facts.thought if isinstance(template, ChatTemplate) else None
    return (thought.open, thought.close) if thought else None
