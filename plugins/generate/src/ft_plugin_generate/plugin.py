"""What this plugin offers. Imports nothing heavy."""

from ftk.aliases import Alias
from ftk.component import Component
from ftk.markers import hookimpl
from ftk.plan import Plan
from ftk.problems import Problem

from .config import GenerateConfig


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="engine",
            name="hf",
            target="ft_plugin_generate.engine:Hf",
            summary="Answers with transformers",
            section="generate",
            default=True,
        )
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_generate.config:GenerateConfig", "ft_plugin_generate.config:InferConfig"]


@hookimpl
def ftk_aliases() -> list[Alias]:
    note = "the same as 'hf'"
    return [
        Alias(old="infer_backend", new="infer_backend", values={"huggingface": "hf"}, note=note, silent=True),
    ]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    config = plan.config[GenerateConfig]
    sampling = config.do_sample
    rules = [
        (
            "temperature",
            not sampling or config.temperature > 0,
            "must be above 0",
            "to sample nothing: do_sample: false",
        ),
        ("top_p", not sampling or 0 < config.top_p <= 1, "must be above 0 and at most 1", "1 draws from all tokens"),
        ("top_k", not sampling or config.top_k >= 0, "must not be negative", "0 draws from all tokens"),
        ("num_beams", config.num_beams >= 1, "must be at least 1", "1 is no beam search"),
        ("repetition_penalty", config.repetition_penalty > 0, "must be above 0", "1 is no penalty"),
    ]
    return [
        Problem("error", f"{key}={getattr(config, key)} {message}", hint, key=key)
        for key, good, message, hint in rules
        if not good
    ]
