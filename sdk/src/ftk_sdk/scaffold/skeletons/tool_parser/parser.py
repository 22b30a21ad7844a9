"""How calls are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_plugin_tool_parsers.answer import Format, FormatParser
from ft_plugin_tool_parsers.json_calls import NamedJson
from ft_plugin_tool_parsers.provide import thought_of
from ftk.contracts import Template, ToolParser
from ftk.markers import hookimpl

if TYPE_CHECKING:
    from ftk.run import Run

FORMAT = Format(NamedJson(openers=("<call ",), separator=">", closer="</call>"))


class SkeletonName:
    @hookimpl
    def ftk_tool_parser(self, run: Run, template: Template) -> ToolParser:
        return FormatParser(FORMAT, thought_of(template))
