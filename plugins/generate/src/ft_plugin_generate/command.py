"""``ftk chat``."""

from __future__ import annotations

import contextlib
import json as jsonlib
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Annotated

import typer

from ftk.cli.options import Json, Overrides, print_json
from ftk.cli.session import open_run
from ftk.contracts import Engine, Message
from ftk.problems import ConfigError, FtkError

ConfigOrFolder = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, the output folder of a run, or a folder with a model.")
]


def chat(
    config: ConfigOrFolder,
    overrides: Overrides = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="Answer this and end.")] = None,
    system: Annotated[str | None, typer.Option("--system", help="System prompt.")] = None,
    json: Json = False,
) -> None:
    """Talk with a model. `clear` begins anew, `exit` or Ctrl-D ends, Ctrl-C interrupts an answer."""
    if json and prompt is None:
        raise ConfigError.single("--json is for one answer", "give the question with --prompt")
    engine = open_run(*where(config, overrides or []), "chat").engine()
    begin: list[Message] = [{"role": "system", "content": system}] if system is not None else []
    if prompt is None:
        converse(engine, begin)
        return
    messages: list[Message] = [*begin, {"role": "user", "content": prompt}]
    if json:
        print_json({"messages": messages, "answer": "".join(engine.stream(messages))})
    else:
        say(engine, messages)


def where(config: str, overrides: list[str]) -> tuple[str | None, list[str]]:
    """The config and the overrides that mean the same, where ``config`` is a folder."""
    folder = Path(config)
    if not folder.is_dir():
        return config, overrides
    if (folder / "plan.json").is_file():
        return config, [f"output_dir={config}", *overrides]  # the folder may have been moved since the run
    if (adapter := folder / "adapter_config.json").is_file():
        base = jsonlib.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path")
        return None, [f"adapter_name_or_path={config}", *([f"model_name_or_path={base}"] if base else []), *overrides]
    if (folder / "config.json").is_file():
        return None, [f"model_name_or_path={config}", *overrides]
    return config, overrides


def converse(engine: Engine, begin: list[Message]) -> None:
    """Questions from standard input, answers to standard output, until there is no more input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (importing it gives input() line editing and history)

    at_terminal = sys.stdin.isatty()
    messages = list(begin)
    if at_terminal:
        typer.echo("clear: begin anew   exit: end   Ctrl-C: interrupt an answer", err=True)
    while True:
        try:
            question = input("\nyou: " if at_terminal else "").strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            continue
        if question == "exit":
            return
        if question == "clear":
            messages = list(begin)
        elif question:
            messages = turn(engine, [*messages, {"role": "user", "content": question}])


def turn(engine: Engine, messages: list[Message]) -> list[Message]:
    """The conversation after the answer to its last message; without that message when there is none."""
    pieces: list[str] = []
    try:
        say(engine, messages, pieces)
    except KeyboardInterrupt:
        typer.echo()
    except FtkError as e:
        typer.echo(f"error: {e}", err=True)
    answer = "".join(pieces)
    return [*messages, {"role": "assistant", "content": answer}] if answer else messages[:-1]


def say(engine: Engine, messages: list[Message], pieces: list[str] | None = None) -> None:
    """Print the answer as it comes, and collect it in ``pieces``."""
    answer = engine.stream(messages)
    try:
        for piece in answer:
            if pieces is not None:
                pieces.append(piece)
            sys.stdout.write(piece)
            sys.stdout.flush()
    finally:
        if isinstance(answer, Generator):
            answer.close()  # an engine stops computing what nobody reads
    typer.echo()
