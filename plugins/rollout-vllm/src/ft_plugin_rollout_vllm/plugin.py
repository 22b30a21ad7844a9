"""What this plugin offers. Imports nothing heavy."""

from __future__ import annotations

from ftk.component import Component
from ftk.markers import hookimpl
from ftk.plan import Plan
from ftk.problems import Problem

from .checks import problems_of


@hookimpl
def ftk_components() -> list[Component]:
    return [
        Component(
            kind="rollout-engine",
            name="vllm",
            target="ft_plugin_rollout_vllm.process:InProcess",
            summary="Completions by vLLM in the training process, from the adapter that is being trained",
            section="rollout_vllm",
            requires=("addon:rollouts",),
            needs=("vllm",),
        ),
        Component(
            kind="rollout-engine",
            name="vllm-server",
            target="ft_plugin_rollout_vllm.server:OnServer",
            summary="Completions by a server of vLLM, which is given the adapter that is being trained",
            section="rollout_vllm",
            requires=("addon:rollouts",),
        ),
    ]


@hookimpl
def ftk_sections() -> list[str]:
    return ["ft_plugin_rollout_vllm.config:RolloutVllmConfig"]


@hookimpl
def ftk_check(plan: Plan) -> list[Problem]:
    return list(problems_of(plan)) if plan.action == "train" else []
