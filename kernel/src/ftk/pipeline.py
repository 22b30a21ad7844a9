"""Several runs in one file: each step a plan of its own, which goes on from the result of the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .kinds import Action
from .load import PIPELINE, Raw
from .plan import Plan
from .problems import ConfigError, Origin, Problem
from .settings import RunConfig

Keys = dict[str, Raw]
Planner = Callable[[Keys, Action], Plan]
EXPORTS, TRAINS = "export_dir", ("stage", "dataset", "do_train")
"""A step that sets the first, and none of the others, exports the result of the step before."""

HANDED = "the result of step"
"""Origin of a key that is handed on, before the name of the step that does so."""


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    plan: Plan

    def open_problems(self) -> list[Problem]:
        """The plan's problems, but for what is missing because an earlier step has yet to make it."""
        return [p for p in self.plan.problems if not (p.level == "missing" and str(p.origin).startswith(HANDED))]


@dataclass(frozen=True, slots=True)
class Pipeline:
    root: Path
    """The folder that holds those of the steps."""
    steps: tuple[Step, ...]

    def __getitem__(self, name: str) -> Step:
        for step in self.steps:
            if step.name == name:
                return step
        hint = f"steps are {', '.join(step.name for step in self.steps)}"
        raise ConfigError.single(f"--step {name}: no such step", hint)


def is_pipeline(raw: Mapping[str, Raw]) -> bool:
    return PIPELINE in raw and raw[PIPELINE].value is not None


def root_of(raw: Mapping[str, Raw]) -> Path:
    return Path(str(raw["output_dir"].value if "output_dir" in raw else RunConfig.output_dir))


def plan_steps(raw: Mapping[str, Raw], overrides: Mapping[str, Raw], planner: Planner) -> Pipeline:
    """The plans of all steps. Raises ConfigError with the errors of all of them.

    A step's keys are those of the file, then what the step before hands on, then its own, then ``overrides``. A step
    that sets a key which would be handed on begins from what it names: nothing is handed on to it. A step that exports
    has the keys of the step before it.
    """
    file = {key: item for key, item in (*raw.items(), *overrides.items()) if key != PIPELINE}
    root = root_of(file)
    overrides = {key: item for key, item in overrides.items() if key != "output_dir"}
    handed: Keys = {}
    before: Keys = file
    steps: list[Step] = []
    problems: list[Problem] = []
    for number, (name, own, origin) in enumerate(_named(raw[PIPELINE]), 1):
        exports = EXPORTS in own and not any(key in own for key in TRAINS)
        keys = _joined(before if exports else file, handed, own, overrides)
        if "output_dir" not in own and not (exports and steps):
            keys["output_dir"] = Raw(str(root / f"{number}-{name}"), origin)
        before = keys
        try:
            plan = planner(keys, "export" if exports else "train")
        except ConfigError as e:
            problems += e.problems
            continue
        steps.append(Step(name, plan))
        handed |= {key: Raw(value, Origin(f"{HANDED} {name!r}")) for key, value in hand_on(plan).items()}
    if any(problem.level == "error" for problem in problems):
        raise ConfigError(problems)
    return Pipeline(root, tuple(steps))


def hand_on(plan: Plan) -> dict[str, object]:
    """What the plan's plugins say that a later run needs to go on from its result."""
    out: dict[str, object] = {}
    for plugin in plan.plugins():
        hook = getattr(plugin.module, "ftk_hand_on", None)
        for key, value in (hook(plan) if hook else {}).items():
            if key in out:
                raise ConfigError.single(f"two plugins hand on {key!r}; the second is {plugin.dist}")
            out[key] = value
    return out


def _joined(file: Keys, handed: Keys, own: Keys, overrides: Mapping[str, Raw]) -> Keys:
    begins_anew = any(key in own for key in handed)
    return {**file, **({} if begins_anew else handed), **own, **overrides}


def _named(pipeline: Raw) -> Iterator[tuple[str, Keys, Origin]]:
    """Name, keys and place of each step."""
    steps = pipeline.value
    if not (isinstance(steps, Sequence) and steps and all(isinstance(step, dict) and step for step in steps)):
        hint = "write '- stage: NAME' and the step's other keys below it"
        raise ConfigError.single("pipeline is a list of steps, each with keys of its own", hint, origin=pipeline.origin)
    taken: set[str] = set()
    for step in steps:
        own = {key: item if isinstance(item, Raw) else Raw(item, pipeline.origin) for key, item in step.items()}
        origin = next(iter(own.values())).origin
        if PIPELINE in own:
            raise ConfigError.single("a step of a pipeline cannot be a pipeline", "", origin=own[PIPELINE].origin)
        said = own.pop("name", None) or own.get("stage") or Raw("export" if EXPORTS in own else "run", origin)
        name = str(said.value)
        if name in taken:
            hint = "give one of them a name: of its own"
            raise ConfigError.single(f"two steps are called {name!r}", hint, origin=origin)
        taken.add(name)
        yield name, own, origin
