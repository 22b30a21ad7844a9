"""From the words on the command line to a plan or a run. Commands of plugins use it too."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace

import typer

from ..compose import compose
from ..discover import Installed, discover
from ..kinds import Action
from ..load import Raw, load_config, parse_overrides
from ..pipeline import Pipeline, is_pipeline, plan_steps, root_of
from ..plan import Plan, infer_action, resolve_plan
from ..problems import ConfigError, Problem, in_order
from ..run import Run


def read(config: str | None, overrides: Sequence[str] | None) -> tuple[dict[str, Raw], dict[str, Raw]]:
    """The keys of the file, and those of the command line. Without a file every key is on the command line."""
    words = list(overrides or ())
    if config is not None and (config.startswith("--") or "=" in config):
        words, config = [config, *words], None
    return (load_config(config) if config is not None else {}), parse_overrides(words)


def open_plan(
    config: str | None,
    overrides: Sequence[str] | None = None,
    action: Action | None = None,
    *,
    strict: bool = False,
    installed: Installed | None = None,
) -> Plan:
    """Compose and plan. Raises ConfigError with every error; under ``strict`` warnings are errors."""
    file, replaced = read(config, overrides)
    if is_pipeline(file):
        message = f"{config} is a pipeline of several runs"
        raise ConfigError.single(message, f"give the folder of one of its steps, in {root_of(file | replaced)}")
    return resolved(file | replaced, action, strict=strict, installed=installed)


def open_training(config: str, overrides: Sequence[str] | None = None, step: str | None = None) -> Plan:
    """The plan of a run that trains: that of the config, or of the named step of a pipeline."""
    found = opened(config, overrides, "train")
    if isinstance(found, Plan):
        return alone(found, config, step)
    if step is None:
        names = ", ".join(s.name for s in found.steps if s.plan.action == "train")
        raise ConfigError.single(f"{config} is a pipeline of several runs", f"choose one with --step: {names}")
    plan = found[step].plan
    if plan.action != "train":
        raise ConfigError.single(f"--step {step}: it trains on nothing", "choose another")
    return plan


def alone(plan: Plan, config: str, step: str | None) -> Plan:
    """The plan of a config that is one run. Raises ConfigError where a step of it is asked for."""
    if step is not None:
        raise ConfigError.single(f"--step {step}: {config} is one run, not a pipeline", "leave --step out")
    return plan


def opened(
    config: str, overrides: Sequence[str] | None = None, action: Action | None = None, *, strict: bool = False
) -> Plan | Pipeline:
    """The plan of a config, or those of its steps where it is a pipeline: they know themselves what they are for."""
    file, replaced = read(config, overrides)
    installed = discover()
    if not is_pipeline(file):
        return resolved(file | replaced, action, strict=strict, installed=installed)
    return plan_steps(file, replaced, lambda keys, action: resolved(keys, action, strict=strict, installed=installed))


def resolved(
    raw: dict[str, Raw], action: Action | None = None, *, strict: bool = False, installed: Installed | None = None
) -> Plan:
    """The plan of one run's keys."""
    installed = installed or discover()
    composed, warnings = compose(raw, installed.index, installed.aliases(), keep_going=True)
    plan = resolve_plan(composed, installed, action or infer_action(composed), warnings=warnings)
    if strict and any(p.level == "warning" for p in plan.problems):
        raise ConfigError([_as_error(p) for p in plan.problems])
    return plan


def open_run(
    config: str | None, overrides: Sequence[str] | None = None, action: Action | None = None, *, strict: bool = False
) -> Run:
    """A run that is ready to start: nothing that it needs is missing, and its targets are imported."""
    return ready(open_plan(config, overrides, action, strict=strict))


def ready(plan: Plan) -> Run:
    """The plan's run. Raises ConfigError for what is missing; warnings are shown."""
    if any(p.level == "missing" for p in plan.problems):
        raise ConfigError([_as_error(p) for p in plan.problems if p.level == "missing"])
    show(plan.problems)
    return Run(plan, stderr_logger())


def _as_error(problem: Problem) -> Problem:
    return replace(problem, level="error")


def show(problems: Iterable[Problem]) -> None:
    for problem in in_order(problems):
        typer.echo(str(problem), err=True)


def stderr_logger() -> logging.Logger:
    """The run's logger: plain lines on stderr, so that stdout holds results only."""
    logger = logging.getLogger("ftk")
    if not logger.handlers:
        handler = _Stderr()
        handler.setFormatter(_Plain())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger


class _Stderr(logging.Handler):
    """Writes to what ``sys.stderr`` is now, which a progress bar or a test may have replaced since."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"
