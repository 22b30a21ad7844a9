"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from ft_plugin_hf.folder import is_path
from ftk.aliases import Alias
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.problems import Problem

from .config import RewardConfig

if TYPE_CHECKING:
    from ftk.compose import Config
    from ftk.plan import Plan

ADAPTER = "adapter_config.json"


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="addon",
            name="reward",
            target="ft_plugin_reward.reward:RewardModel",
            summary="Scores by a reward model or a server",
            requires=("addon:rewards",),
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_reward.config:RewardConfig"]


@hookimpl
def ftk_aliases() -> list[Alias]:
    return [Alias(old="rm_path", new="reward_model", note="another name of 'reward_model'")]


@hookimpl
def ftk_select(config: Config) -> list[str]:
    return ["addon:rewards"] if config[RewardConfig].reward_model else []


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    config = plan.config[RewardConfig]
    name, kind = config.reward_model or "", kind_of(config)
    problems = []
    if kind == "api" and not is_address(name):
        message = f"reward_model: {name!r} is no address of a server"
        problems.append(Problem("error", message, "write it as http://host:port/path", "reward_model"))
    if kind != "api" and is_address(name):
        message = f"reward_model_type={kind!r}, but reward_model is the address of a server"
        problems.append(Problem("error", message, "set reward_model_type: api", "reward_model_type"))
    elif kind != "api" and is_path(name) and not Path(name).expanduser().exists():
        message = f"reward_model: there is no {name!r}"
        problems.append(Problem("missing", message, "train it with stage: rm, or correct the path", "reward_model"))
    elif kind == "lora" and Path(name).expanduser().is_dir() and not is_adapter(name):
        message = f"reward_model_type='lora', but {name!r} holds no {ADAPTER}"
        problems.append(Problem("error", message, "set reward_model_type: full for a whole model", "reward_model_type"))
    return [*problems, *_values(config)]


def _values(config: RewardConfig) -> list[Problem]:
    bits, key = config.reward_model_quantization_bit, "reward_model_quantization_bit"
    problems = []
    if bits not in (None, 4, 8):
        problems.append(Problem("error", f"{key}={bits!r} is neither 4 nor 8", "set one of them, or unset it", key))
    elif bits and importlib.util.find_spec("bitsandbytes") is None:
        problems.append(Problem("error", f"{key} needs the package 'bitsandbytes'", "pip install bitsandbytes", key))
    lowest = {"reward_batch_size": 1, "reward_api_retries": 0, "reward_api_timeout": 0.001}
    for name, least in lowest.items():
        if (value := getattr(config, name)) < least:
            problems.append(Problem("error", f"{name}={value!r} must be at least {least}", "", name))
    return problems


def kind_of(config: RewardConfig) -> str:
    """What ``reward_model`` is: ``full``, ``lora`` or ``api``."""
    name = config.reward_model or ""
    if config.reward_model_type != "auto":
        return config.reward_model_type
    return "api" if is_address(name) else "lora" if is_adapter(name) else "full"


def is_address(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def is_adapter(name: str) -> bool:
    return (Path(name).expanduser() / ADAPTER).is_file()
