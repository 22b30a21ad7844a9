"""From a YAML file and the command line to raw values that remember where they were written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .problems import ConfigError, Origin, Problem

PIPELINE = "pipeline"
"""The key whose value is a list of configs."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A value as written, and where."""

    value: Any
    origin: Origin
    text: str | None = None
    """The scalar's text: YAML 1.1 reads ``no`` as false, and a key may want the word."""


def load_config(path: str | Path) -> dict[str, Raw]:
    """The keys of a YAML or JSON file, or of the ``plan.json`` of a run's folder."""
    path = Path(path)
    if path.is_dir():
        return load_plan(path / "plan.json")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError([Problem("error", f"no such file: {path}", "give the path of a YAML file")]) from None
    except UnicodeDecodeError as e:
        raise ConfigError(
            [Problem("error", f"not UTF-8 at byte {e.start}", "save the file as UTF-8", origin=Origin(str(path)))]
        ) from None
    except OSError as e:
        raise ConfigError([Problem("error", f"cannot read {path}: {e.strerror}")]) from None
    return parse_yaml(text, str(path))


def load_plan(path: Path) -> dict[str, Raw]:
    """The config that a finished or interrupted run was started with."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))["config"]
    except FileNotFoundError:
        hint = "give a YAML file, or the output_dir of a run"
        raise ConfigError([Problem("error", f"{path.parent} is a folder without plan.json", hint)]) from None
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError):
        raise ConfigError([Problem("error", f"{path} is not a plan that ftk wrote")]) from None
    config["output_dir"] = str(path.parent)  # the folder may have been moved since
    return {key: Raw(value, Origin(str(path))) for key, value in config.items()}


def parse_yaml(text: str, source: str) -> dict[str, Raw]:
    """Top-level keys with their lines. Duplicate keys are an error, with both lines."""
    import yaml  # not before a config is read: 20 ms that `ftk --help` does not need

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = yaml.compose(text, Loader=loader)
        if root is None:
            return {}
        if not isinstance(root, yaml.MappingNode):
            place = Origin(source, root.start_mark.line + 1)
            hint = "write one 'key: value' per line"
            raise ConfigError.single("a config is a mapping of keys to values", hint, origin=place)
        problems: list[Problem] = []
        out = _mapping(root, source, loader("").construct_object, problems)
    except yaml.YAMLError as e:
        raise ConfigError([_syntax_problem(e, source)]) from None
    if problems:
        raise ConfigError(problems)
    return out


def _mapping(root: Any, source: str, construct: Any, problems: list[Problem]) -> dict[str, Raw]:
    """The keys of a mapping node. The steps of a pipeline are mappings too, so that their keys have lines."""
    out: dict[str, Raw] = {}
    for knode, vnode in root.value:
        origin = Origin(source, knode.start_mark.line + 1)
        key = str(knode.value)
        if key in out:
            message = f"{key!r} is set twice, first on line {out[key].origin.line}"
            problems.append(Problem("error", message, "keep one of the two", origin=origin))
            continue
        if key == PIPELINE and vnode.id == "sequence" and all(step.id == "mapping" for step in vnode.value):
            steps = [_mapping(step, source, construct, problems) for step in vnode.value]
            out[key] = Raw(steps, origin)
            continue
        scalar = vnode.value if vnode.id == "scalar" else None
        out[key] = Raw(construct(vnode, deep=True), origin, scalar)
    return out


def _syntax_problem(error: Exception, source: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark else None
    what = getattr(error, "problem", None) or str(error)
    return Problem(
        "error",
        f"not valid YAML: {what}",
        "look at the indentation, quotes and colons of this line",
        origin=Origin(source, line),
    )


def parse_overrides(words: Sequence[str]) -> dict[str, Raw]:
    """``key=value``, ``--key value``, ``--key=value`` or ``--flag`` from the command line; values are YAML scalars."""
    import yaml

    origin = Origin("command line")
    out: dict[str, Raw] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        key, sep, text = word.lstrip("-").partition("=")
        if not sep and word.startswith("--"):
            text = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        elif not sep:
            raise ConfigError(
                [Problem("error", f"cannot read {word!r}", "write overrides as key=value", origin=origin)]
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        out[key.replace("-", "_")] = Raw(value, origin, text)
    return out


def expand_blocks(raw: Mapping[str, Raw], sections: Mapping[str, set[str]], keys: set[str]) -> dict[str, Raw]:
    """``galore: {rank: 128}`` becomes ``galore_rank: 128`` where ``galore`` is a section and not a key.

    sections: section name -> its keys. A key that is set both ways is an error.
    """
    out: dict[str, Raw] = {}
    problems = []
    for name, item in raw.items():
        block = name.replace("-", "_")
        if name in keys or block not in sections or not isinstance(item.value, Mapping):
            pairs = [(name, item)]
        else:
            pairs = [
                (_member(block, str(sub), sections[block]), Raw(value, item.origin))
                for sub, value in item.value.items()
            ]
        for key, value in pairs:
            if key in out:
                problems.append(
                    Problem(
                        "error",
                        f"{key!r} is set twice: alone and in a block",
                        "keep one of the two",
                        origin=value.origin,
                    )
                )
            out[key] = value
    if problems:
        raise ConfigError(problems)
    return out


def _member(block: str, sub: str, keys: set[str]) -> str:
    prefixed = f"{block}_{sub}"
    return sub if sub in keys and prefixed not in keys else prefixed
