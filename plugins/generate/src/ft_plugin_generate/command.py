"""``ftk chat``."""

from __future__ import annotations

import contextlib
import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from ftk.cli.options import Json, Overrides, print_json
from ftk.cli.session import open_run
from ftk.contracts import Delta, Message, ParsedAnswer
from ftk.problems import ConfigError, FtkError

from .talk import Talk, open_talk, shown

ConfigOrFolder = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, the output folder of a run, or a folder with a model.")
]


def chat(
    config: ConfigOrFolder,
    overrides: Overrides = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="Answer this and end.")] = None,
    system: Annotated[str | None, typer.Option("--system", help="System prompt.")] = None,
    tools: Annotated[Path | None, typer.Option("--tools", help="JSON file of functions that it may call.")] = None,
    json: Json = False,
) -> None:
    """Talk with a model. `clear` begins anew, `exit` or Ctrl-D ends, Ctrl-C interrupts an answer."""
    if json and prompt is None:
        raise ConfigError.single("--json is for one answer", "give the question with --prompt")
    talk = open_talk(open_run(*where(config, overrides or []), "chat"), tools)
    begin: list[Message] = [{"role": "system", "content": system}] if system is not None else []
    if prompt is None:
        converse(talk, begin)
        return
    messages: list[Message] = [*begin, {"role": "user", "content": prompt}]
    if json:
        answer = ParsedAnswer.of(talk.answer(messages))
        read = {"message": talk.turn(answer), "problems": list(answer.problems)} if tools else {}
        print_json({"messages": messages, "answer": answer.content, **read})
    else:
        say(talk, messages, [])


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


def converse(talk: Talk, begin: list[Message]) -> None:
    """Questions from standard input, answers to standard output, until there is no more input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (importing it gives input() line editing and history)

    messages = list(begin)
    if sys.stdin.isatty():
        typer.echo("clear: begin anew   exit: end   Ctrl-C: interrupt an answer", err=True)
    while True:
        try:
            question = ask("you")
            if question == "exit":
                return
            if question == "clear":
                messages = list(begin)
            elif question:
                messages = turn(talk, [*messages, {"role": "user", "content": question}])
        except EOFError:
            return
        except KeyboardInterrupt:
            continue


def ask(who: str) -> str:
    """The next line of standard input."""
    return input(f"\n{who}: " if sys.stdin.isatty() else "").strip()


def turn(talk: Talk, messages: list[Message]) -> list[Message]:
    """The conversation after the answer to its last message; without that message when there is none.

    What the answer calls, you are: the next lines are the results, and then it goes on.
    """
    while True:
        deltas: list[Delta] = []
        try:
            say(talk, messages, deltas)
        except KeyboardInterrupt:
            typer.echo()
        except FtkError as e:
            typer.echo(f"error: {e}", err=True)
        if not deltas:
            return messages[:-1]
        answer = talk.turn(ParsedAnswer.of(deltas))
        messages = [*messages, answer]
        for call in answer.get("tool_calls", ()):
            name = call["function"]["name"]
            messages.append({"role": "tool", "name": name, "tool_call_id": call["id"], "content": ask(name)})
        if messages[-1] is answer:
            return messages


def say(talk: Talk, messages: list[Message], deltas: list[Delta]) -> None:
    """Print the answer as it comes, and collect it. Thoughts and problems are no part of what it answers."""
    begun = False
    with contextlib.closing(talk.answer(messages)) as answer:
        for delta in answer:
            deltas.append(delta)
            if delta.call:
                typer.echo(("\n" if begun else "") + f"calls {shown(delta.call)}", nl=False)
            elif delta.content:
                sys.stdout.write(delta.content)
                sys.stdout.flush()
            else:
                typer.echo(delta.reasoning or f"warning: {delta.problem}", err=True, nl=not delta.reasoning)
                continue
            begun = True
    typer.echo()
