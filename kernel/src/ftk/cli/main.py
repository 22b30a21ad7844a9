"""The ``ftk`` program: a table of commands, and what becomes of errors."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from ..component import resolve
from ..problems import ConfigError, FtkError

COMMANDS = {
    "run": ("ftk.cli.run:run", "Run a config: train, evaluate, export"),
    "train": ("ftk.cli.run:run", "The same as run"),
    "plan": ("ftk.cli.plan:plan", "Show what a config would run, and what is wrong with it"),
    "replay": ("ftk.cli.run:replay", "Run again what a run's plan.json records"),
    "init": ("ftk.cli.init:init", "Write a commented config for a stage"),
    "explain": ("ftk.cli.explain:explain", "Say what a key means, or where each value of a config comes from"),
    "keys": ("ftk.cli.keys:keys", "List config keys"),
    "schema": ("ftk.cli.schema:schema", "Write the JSON schema of everything installed"),
    "plugins": ("ftk.cli.plugins:app", "List installed plugins, or check them"),
    "doctor": ("ftk.cli.doctor:doctor", "Look for what is wrong with this machine and installation"),
    "version": ("ftk.cli.version:version", "Show versions"),
}
GROUP = "ftk.commands"


class Commands(TyperGroup):
    """Finds commands in the table and in plugins' metadata; imports only the one that is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *(name for name in sorted(from_plugins()) if name not in COMMANDS)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = from_plugins().get(cmd_name)
        if cmd_name in COMMANDS:
            if found is not None:
                typer.echo(f"note: {found.dist.name} also offers the command {cmd_name!r}; ftk's own is used", err=True)
            return as_command(cmd_name, resolve(COMMANDS[cmd_name][0]))
        if found is not None:
            return as_command(cmd_name, _load(found))
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and (dist := _catalogued(args[0])):
            raise absent_command(args[0], dist)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = [(name, summary) for name, (_, summary) in COMMANDS.items()]
        rows += [(n, f"from {e.dist.name}") for n, e in sorted(from_plugins().items()) if n not in COMMANDS]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def from_plugins() -> dict[str, Any]:
    """Commands that plugins add, by name, from metadata. Of two with one name the first distribution's is taken."""
    disabled = {n.strip() for n in os.environ.get("FTK_DISABLE", "").split(",")}
    found = importlib.metadata.entry_points(group=GROUP)
    by_dist = sorted(found, key=lambda e: e.dist.name, reverse=True)  # type: ignore[union-attr]
    return {e.name: e for e in by_dist if e.dist is not None and e.dist.name not in disabled}


def plugin_command(name: str) -> Any:
    """The function behind a command that some plugin adds. Raises ConfigError where none does."""
    found = from_plugins().get(name)
    if found is None:
        raise absent_command(name, _catalogued(name) or "a plugin")
    return _load(found)


def absent_command(name: str, dist: str) -> ConfigError:
    return ConfigError.single(f"the command {name!r} comes with {dist}, which is not installed", f"pip install {dist}")


def as_command(name: str, target: Any) -> Any:
    """A command from a function with typer annotations, or from a typer app."""
    if isinstance(target, typer.Typer):
        command = typer.main.get_command(target)
    else:
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        # Unknown options are overrides: `ftk run x.yaml --lora_rank 16`.
        app.command(name, context_settings={"ignore_unknown_options": True})(target)
        command = typer.main.get_command(app)
    command.name = name
    return command


def _load(entry_point: Any) -> Any:
    try:
        return entry_point.load()
    except Exception as e:
        dist = entry_point.dist.name
        raise FtkError(
            f"the command {entry_point.name!r} of {dist} cannot be imported: {e}", f"reinstall {dist}"
        ) from e


def _catalogued(name: str) -> str | None:
    from ..catalog import load_catalog  # only for a command that nobody offers

    return load_catalog().commands.get(name)


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Fine-tune language models with exactly the plugins you need. ftk sends nothing anywhere.",
)


@app.callback()
def _root() -> None:
    pass


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Exit codes: 0 done; 1 the run failed; 2 the config, the plan or the call is wrong and nothing was started."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        app(words, prog_name="ftk")
    except ConfigError as e:
        typer.echo(str(e), err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone: `ftk keys | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as e:
        _tell(e)
        sys.exit(1)
    sys.exit(0)


def _tell(error: Exception) -> None:
    """An expected error is its text. Anything else is a bug, ours or a plugin's: where it happened goes to a file."""
    notes = "".join(f"\n    {note}" for note in getattr(error, "__notes__", []))
    if os.environ.get("FTK_DEBUG"):
        traceback.print_exception(error)
    elif isinstance(error, FtkError):
        typer.echo(f"error: {error}", err=True)
    else:
        import tempfile

        with tempfile.NamedTemporaryFile("w", prefix="ftk-", suffix=".log", delete=False, encoding="utf-8") as f:
            traceback.print_exception(error, file=f)
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        typer.echo(
            f"error: {text}{notes}\n    this is a bug; its traceback is in {f.name} (FTK_DEBUG=1 shows it)", err=True
        )


if __name__ == "__main__":
    main()
