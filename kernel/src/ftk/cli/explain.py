"""``ftk explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..discover import Installed, discover
from ..keys import Key
from ..problems import ConfigError
from .options import Json, Overrides, print_json
from .session import open_plan
from .table import table


def explain(
    what: Annotated[str, typer.Argument(metavar="KEY|CONFIG", help="A key's name, a YAML file, or a run's folder.")],
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Say what a key means, or what each key of a config is set to, by whom and where."""
    installed = discover()
    if not Path(what).exists() and "=" not in what:
        _explain_key(what, installed, json)
        return
    plan = open_plan(what, overrides, installed=installed)
    config, index = plan.config, installed.index
    rows = [(k, repr(config.value(k)), str(config.origin(k)), index[k].dist) for k in config.dump()]
    if json:
        print_json(
            [dict(zip(("key", "value", "at", "dist"), (r[0], config.value(r[0]), *r[2:]), strict=True)) for r in rows]
        )
    else:
        typer.echo(table(rows, indent=""))


def _explain_key(name: str, installed: Installed, as_json: bool) -> None:
    index = installed.index
    if name in index:
        key: Key = index[name]
        if as_json:
            print_json({"key": name, "type": key.type, "default": key.default, "dist": key.dist, "doc": key.doc})
        else:
            typer.echo(f"{name}: {key.type} = {key.default!r}\n    {key.doc}\n    from {key.dist}")
        return
    alias = next((a for a in installed.aliases() if a.old == name), None)
    entry = index.catalog.keys.get(name)
    if alias is not None:
        typer.echo(f"{name!r} is {alias.note}")
    elif entry is not None:
        typer.echo(f"{name}: default {entry.default!r}\n    from {entry.dist}, not installed: pip install {entry.dist}")
    else:
        raise ConfigError.single(f"no key and no file {name!r}", index.did_you_mean(name))
