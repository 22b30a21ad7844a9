"""``ftk init``: a commented config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..compose import compose
from ..discover import discover
from ..load import Raw
from ..lock import write_json
from ..plan import Plan, resolve_plan
from ..problems import ConfigError, Origin
from ..section import meta
from ..unused import active_sections
from .schema import json_schema

SCHEMA = "ftk.schema.json"


def init(
    stage: Annotated[str | None, typer.Argument(help="What to train for: an installed stage.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("ftk.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a config for a stage: what must be filled in, then every key, commented out."""
    if output.exists() and not force:
        raise ConfigError.single(f"{output} exists", "give another --output, or --force")
    installed = discover()
    raw = {"stage": Raw(stage, Origin("command line"))} if stage else {}
    config, _ = compose(raw, installed.index, installed.aliases())
    plan = resolve_plan(config, installed, "train")
    schema_path = output.with_name(SCHEMA)
    write_json(schema_path, json_schema(installed))
    output.write_text(commented(plan), encoding="utf-8")
    typer.echo(f"wrote {output} and {schema_path}; fill in the first keys, then: ftk run {output}")


def commented(plan: Plan) -> str:
    """What the plan lacks first, then all keys of the sections in use."""
    needed = {p.key: p for p in plan.problems if p.level == "missing" and p.key}
    lines = [f"# yaml-language-server: $schema={SCHEMA}", "", f"stage: {plan.of_kind('stage')[0].name}"]
    lines += [f"{key}:  # {problem.hint or problem.message}" for key, problem in needed.items()]
    index = plan.installed.index
    for cls in sorted(active_sections(plan), key=lambda c: (meta(c).name != "run", meta(c).name)):
        lines += ["", f"# -- {meta(cls).name} --"]
        for key in (index[name] for name in cls.__dataclass_fields__):  # type: ignore[attr-defined]
            if key.name != "stage" and key.name not in needed:
                lines.append(f"# {key.name}: {_yaml(key.default)}  # {' '.join(key.doc.split())}")
    return "\n".join(lines) + "\n"


def _yaml(value: object) -> str:
    import yaml

    return yaml.safe_dump(value, default_flow_style=True, width=10_000).splitlines()[0]
