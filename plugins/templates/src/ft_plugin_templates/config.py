"""Keys owned by this plugin."""

from __future__ import annotations

from ftk.section import section


@section("templates", selects={"template": "template", "tool_format": "tool-parser"})
class TemplateConfig:
    template: str = "auto"
    """Name of the prompt format; "auto" takes the tokenizer's own."""
    tool_format: str | None = None
    """How tool calls are written; a run stops when the template writes them in another way."""
    default_system: str | None = None
    """System prompt of conversations that have none, in place of the template's own; "" for none at all."""
    enable_thinking: bool | None = True
    """Whether answers begin with a thought; null: some do and some do not, and empty thoughts carry no loss."""
    preserve_thinking: bool = False
    """Keep the thoughts of earlier turns, where the template can."""
