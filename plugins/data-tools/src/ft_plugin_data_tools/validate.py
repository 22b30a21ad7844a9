"""``ftk data validate``: every row through its format, and with a config through the stage's encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import typer

from ft_plugin_data.config import DataConfig
from ft_plugin_data.encode import RowEncoder
from ft_plugin_data.ledger import Ledger, table
from ft_plugin_data.limits import drop_limit
from ft_plugin_data.opening import Opened, open_all
from ftk.cli.options import print_json
from ftk.cli.table import table as columns
from ftk.contracts import Encoder
from ftk.lock import FILE
from ftk.problems import ConfigError, RunError

from .opening import looked_at
from .reading import Nothing, open_datasets, rows_of_data

LISTED = 20


@dataclass(slots=True)
class Account(Ledger):
    """A ledger that keeps every fault."""

    faults: list[tuple[str, str]] = field(default_factory=list)
    """(place, reason), in the order of the rows."""
    kinds: Counter[str] = field(default_factory=Counter)
    """What usable rows are -> how many."""

    def drop(self, why: str, place: str) -> None:
        Ledger.drop(self, why, place)
        self.faults.append((place, why))


def validate(
    target: str,
    overrides: Sequence[str] | None,
    *,
    dataset_dir: str,
    max_drop: str,
    every: bool,
    as_json: bool,
    step: str | None = None,
) -> None:
    """Raises Exit(1) when more rows than ``max_drop`` are unusable."""
    if is_config(target):
        accounts = _of_config(target, overrides, step)
    elif overrides:
        raise ConfigError.single(f"{overrides[0]!r}: overrides go with a config, and {target} is data", "leave it out")
    else:
        _, opened = open_datasets([target], dataset_dir)
        accounts = [account_of(each, Nothing()) for each in opened]
    if as_json:
        print_json([_as_dict(account) for account in accounts])
    else:
        _print(accounts, every, encoded=is_config(target))
    if any(a.dropped > (drop_limit(max_drop, a.rows) or 0) or not a.kept for a in accounts):
        raise typer.Exit(1)


def is_config(target: str) -> bool:
    """A YAML file, keys on the command line, or the folder of a run; everything else is data."""
    return Path(target).suffix in (".yaml", ".yml") or "=" in target or (Path(target) / FILE).is_file()


def _of_config(config: str, overrides: Sequence[str] | None, step: str | None) -> list[Account]:
    with looked_at(config, overrides, step=step) as run:
        data = run.config[DataConfig]
        names = list(dict.fromkeys([*(data.dataset or ()), *(data.eval_dataset or ())]))
        if not names:
            raise RunError("dataset is not set", "name a file, a folder, hf:org/name, or a name of dataset_info.json")
        if data.streaming:
            raise RunError("validate reads every row, which streaming does not", "add streaming=false")
        tokenizer = run.load_tokenizer()
        encoder = run.encoder(tokenizer, run.load_template(tokenizer))
        return [account_of(each, encoder) for each in open_all(run, names, data.dataset_dir, streaming=False)]


def account_of(opened: Opened, encoder: Encoder) -> Account:
    """What becomes of every row."""
    account = Account(opened.spec.name)
    encode = RowEncoder(opened.spec.name, opened.formatter, encoder)
    for rows, numbers in rows_of_data(opened, opened.spec.name):
        for sequence in encode.sequences(rows, numbers, account):
            _count(account, sequence)
    return account


def _count(account: Account, sequence: Any) -> None:
    for name, values in sequence.items():
        if name == "kind":
            account.kinds[values] += 1
        elif name.endswith("input_ids"):
            account.tokens += len(values)
        elif name.endswith("labels") and isinstance(values, list):
            account.loss_tokens = (account.loss_tokens or 0) + sum(label >= 0 for label in values)


def _print(accounts: Sequence[Account], every: bool, encoded: bool) -> None:
    for account in accounts:
        shown = account.faults if every else account.faults[:LISTED]
        for place, why in shown:
            typer.echo(f"{place}: {why}")
        if more := len(account.faults) - len(shown):
            typer.echo(f"... and {more:,} more of {account.name}: --all lists them")
    if any(account.faults for account in accounts):
        typer.echo()
    if encoded:
        typer.echo(table(accounts))
        return
    rows = [("dataset", "rows", "usable", "unusable", "as")]
    for a in accounts:
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in a.kinds.most_common())
        rows.append((a.name, f"{a.rows:,}", f"{a.kept:,}", f"{a.dropped:,}", kinds))
    typer.echo(columns(rows, indent=""))


def _as_dict(account: Account) -> dict[str, Any]:
    faults = [{"place": place, "reason": reason} for place, reason in account.faults]
    plain = asdict(account)
    names = ("name", "rows", "kept", "dropped", "truncated", "truncated_tokens", "tokens", "loss_tokens")
    return {name: plain[name] for name in names} | {"kinds": dict(account.kinds), "faults": faults}
