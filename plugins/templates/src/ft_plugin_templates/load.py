"""The components: a template from a file of a pack, or the tokenizer's own."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from typing import Any

from ftk.contracts import Template
from ftk.discover import discover
from ftk.markers import hookimpl
from ftk.problems import RunError

from .config import TemplateConfig
from .engine import ChatTemplate
from .pack import Facts, Thought, names, read, text
from .probe import end_of_turn, first_difference

_PACK = "ft_plugin_templates"


class TemplateFile:
    """A template of a pack, by its name."""

    def __init__(self, package: str, name: str) -> None:
        self.package, self.name = package, name

    @hookimpl
    def ftk_load_template(self, run, tokenizer) -> Template:
        template = bind(run, tokenizer, read(self.package, self.name))
        if difference := first_difference(template, tokenizer):
            run.logger.warning("template %r is not the tokenizer's own: %s", self.name, difference)
        return template


class TokenizerTemplate:
    """The tokenizer's own template. Where a pack knows it, the pack's marks say which stretches are answers."""

    @hookimpl
    def ftk_load_template(self, run, tokenizer) -> Template:
        own = own_template(tokenizer)
        if own is None:
            return NoTemplate()
        facts, known = own
        if known is not None:
            run.logger.info("the tokenizer's chat template is known: %r marks its answers", known.name)
        return bind(run, tokenizer, facts, marks=known)


class NoTemplate:
    """Of a tokenizer without a chat template: of use to a stage that renders no conversation, and to no other."""

    name = "none"
    stop: tuple[str, ...] = ()
    jinja = ""
    fingerprint = "none"

    def render(self, *_: Any, **__: Any) -> Any:
        raise RunError("the tokenizer has no chat template", f"set template to one of {', '.join(names(_PACK))}")

    encode = encode_prompt = render


def own_template(tokenizer: Any) -> tuple[Facts, Facts | None] | None:
    """The tokenizer's own template, and the one of a pack that is known to render the same; None if it has none."""
    own = tokenizer.chat_template
    if isinstance(own, dict):
        own = own.get("default")
    if not own:
        return None
    known = known_original(own)
    if known is not None:
        return replace(known, name="auto", chat_template=own, default_system="", originals=()), known
    thought = Thought(open="<think>", close="</think>", earlier="kept") if "</think>" in own else None
    return Facts(name="auto", chat_template=own, thought=thought), None


@cache
def known_original(chat_template: str) -> Facts | None:
    """The template of an installed pack that was compared with this text, or None; the one compared most widely."""
    digest = hashlib.sha256(chat_template.encode()).hexdigest()
    packs = [c.args for c in discover().offered().values() if c.kind == "template" and "package" in c.args]
    found = [read(a["package"], a["name"]) for a in packs if digest in text(a["package"], a["name"])]
    ranks = [(max((o.alike for o in facts.originals if o.sha256 == digest), default=0), facts) for facts in found]
    best, known = max(ranks, key=lambda pair: pair[0], default=(0, None))
    return known if best else None


def bind(run: Any, tokenizer: Any, facts: Facts, marks: Facts | None = None) -> ChatTemplate:
    """The template with the run's settings written into it. One that cannot train is good enough for chat."""
    config = run.config[TemplateConfig]
    settings = {"enable_thinking": config.enable_thinking, "preserve_thinking": config.preserve_thinking}
    variables = {k: v for k, v in settings.items() if run.config.was_set(k) and k in facts.chat_template}
    if config.preserve_thinking and "preserve_thinking" not in variables:
        run.logger.warning("preserve_thinking has no effect: template %r does not know it", facts.name)
    # In chat, what reads the calls of a template of unknown making tries whether it does.
    tried = run.plan.action == "chat" and not facts.tool_parser
    if config.tool_format and config.tool_format != facts.tool_parser and not tried:
        message = f"tool_format={config.tool_format!r}, but the template writes tool calls in its own way"
        raise RunError(message, "unset tool_format, or choose another template")
    if config.template == "auto" and facts.name == "auto" and config.default_system == "":
        run.logger.warning("default_system: '' cannot take a system prompt out of the tokenizer's own template")
    template = ChatTemplate(
        facts,
        tokenizer,
        default_system=config.default_system,
        variables=variables,
        keep_thoughts=config.enable_thinking is not False,
        marks=marks,
    )
    try:
        template.stop = tuple(dict.fromkeys([*template.stop, end_of_turn(template, tokenizer)]))
    except RunError as e:
        template.unfit = e
    return template
