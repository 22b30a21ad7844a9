"""``ftk data``. What a command needs is imported when it is called: help comes at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ft_plugin_data.limits import drop_limit
from ftk.cli.options import ConfigArgument, Json, Overrides
from ftk.problems import ConfigError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Look at training data, count it, check it, convert it.",
)


@app.callback()
def _root() -> None:
    pass


# Unknown options are overrides: `ftk data show x.yaml --cutoff_len 64`.
CONFIG = {"ignore_unknown_options": True}

Split = Annotated[Literal["train", "eval"], typer.Option("--split", help="Which data of the run.")]
Step = Annotated[str | None, typer.Option("--step", metavar="NAME", help="Which run of a pipeline.")]
Dir = Annotated[str, typer.Option("--dataset-dir", help="Folder of dataset_info.json, for names in it.")]
Drop = Annotated[
    str, typer.Option("--max-drop", metavar="N|N%", help="Rows of a dataset that may be unusable: 10, or 1%.")
]


@app.command(context_settings=CONFIG)
def show(
    config: ConfigArgument,
    overrides: Overrides = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows, drawn by the run's seed.")] = 3,
    row: Annotated[
        str | None, typer.Option("--row", metavar="I,...", help="These rows instead, counted from 0.")
    ] = None,
    split: Split = "train",
    step: Step = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="A line for each token.")] = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a web page instead.")] = None,
    json: Json = False,
) -> None:
    """Show rows as the model gets them: after template, packing and collator, each token with its loss."""
    numbers = None if row is None else _numbers(row)

    from .show import show

    show(config, overrides, rows=rows, numbers=numbers, split=split, tokens=tokens, html=html, as_json=json, step=step)


def _numbers(words: str) -> list[int]:
    try:
        numbers = [int(word) for word in words.split(",")]
    except ValueError:
        numbers = [-1]
    if min(numbers) < 0:
        raise ConfigError.single(f"--row {words!r} is not a list of numbers", "write 0,5,7: rows are counted from 0")
    return numbers


@app.command(context_settings=CONFIG)
def stats(
    config: ConfigArgument,
    overrides: Overrides = None,
    split: Split = "train",
    step: Step = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw lengths: .png or .svg.")] = None,
    json: Json = False,
) -> None:
    """Count rows, tokens, lengths, duplicates and steps; say what other values of cutoff_len would cut."""
    if plot is not None and plot.suffix not in (".png", ".svg"):
        raise ConfigError.single(f"--plot {plot}: a picture is drawn as .png or .svg", "name such a file")

    from .stats import stats

    stats(config, overrides, split=split, plot=plot, as_json=json, step=step)


@app.command(context_settings=CONFIG)
def validate(
    target: Annotated[str, typer.Argument(metavar="CONFIG|DATA", help="A YAML file, or data: a path, a name, an id.")],
    overrides: Overrides = None,
    step: Step = None,
    dataset_dir: Dir = "data",
    max_drop: Drop = "0",
    every: Annotated[bool, typer.Option("--all", help="List all unusable rows, not the first of them.")] = False,
    json: Json = False,
) -> None:
    """Check every row: its format and, of a config, whether the stage can use it. Exit code 1 when any is not."""
    _check_limit(max_drop)

    from .validate import validate

    validate(target, overrides, dataset_dir=dataset_dir, max_drop=max_drop, every=every, as_json=json, step=step)


@app.command()
def convert(
    inputs: Annotated[list[str], typer.Argument(metavar="DATA...", help="Paths, names in dataset_info.json, hub ids.")],
    to: Annotated[str, typer.Option("--to", help="What to write: openai, or what another package brings.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A .jsonl file; stdout when not given.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    registry: Annotated[bool, typer.Option("--registry", help="Print the entry for dataset_info.json, too.")] = False,
    formatting: Annotated[
        str | None, typer.Option("--format", help="The format of the data, if guessed wrong.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", metavar="ROLE=NAME", help="Name of a column, with --format.")
    ] = None,
    ranking: Annotated[bool, typer.Option("--ranking", help="Rows are pairs, with --format.")] = False,
    dataset_dir: Dir = "data",
    max_drop: Drop = "0",
) -> None:
    """Write data of any format in another, here openai messages. Every row is read back and compared."""
    described = _described(formatting, column or [], ranking)
    _check_limit(max_drop)

    from .convert import convert

    convert(
        inputs,
        to=to,
        output=output,
        force=force,
        registry=registry,
        dataset_dir=dataset_dir,
        max_drop=max_drop,
        described=described,
    )


def _described(formatting: str | None, columns: list[str], ranking: bool) -> dict[str, object]:
    """How the rows are read, in the words of ``DatasetSpec``; nothing where the data shall tell."""
    if formatting is None:
        if columns or ranking:
            raise ConfigError.single("--column and --ranking belong to a format", "name it with --format")
        return {}
    if wrong := [word for word in columns if "=" not in word]:
        raise ConfigError.single(f"--column {wrong[0]!r} is not of the form ROLE=NAME", "write messages=dialogue")
    names = dict(word.split("=", 1) for word in columns)
    return {"formatting": formatting, "columns": names, "ranking": ranking}


def _check_limit(max_drop: str) -> None:
    try:
        drop_limit(max_drop, 1)
    except ValueError as e:
        raise ConfigError.single(f"--max-drop: {e}", "write a number of rows, or a percentage such as 1%") from None
