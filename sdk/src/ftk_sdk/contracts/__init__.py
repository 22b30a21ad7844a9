"""Tests that every plugin passes, and every component of a kind. Subclass one in a test file and set its attributes.

    class TestGalore(OptimizerContract):
        component = "optimizer:galore"
        keys = {"use_galore": True, "galore_rank": 4}

Each contract is imported on first use, so that only contracts that train models import torch.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .adapter import AdapterContract
    from .addon import AddonContract
    from .engine import EngineContract
    from .exporter import ExporterContract
    from .format import FormatContract
    from .hub import HubContract
    from .loader import LoaderContract
    from .loss import LossContract
    from .optimizer import OptimizerContract
    from .plugin import PluginContract
    from .reward import RewardContract
    from .scheduler import SchedulerContract
    from .source import SourceContract
    from .stage import StageContract
    from .template import TemplateContract
    from .tool_parser import ToolParserContract
    from .tracker import TrackerContract

__all__ = [
    "AdapterContract",
    "AddonContract",
    "EngineContract",
    "ExporterContract",
    "FormatContract",
    "HubContract",
    "LoaderContract",
    "LossContract",
    "OptimizerContract",
    "PluginContract",
    "RewardContract",
    "SchedulerContract",
    "SourceContract",
    "StageContract",
    "TemplateContract",
    "ToolParserContract",
    "TrackerContract",
]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module 'ftk_sdk.contracts' has no attribute {name!r}")
    module = re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("Contract")).lower()
    return getattr(importlib.import_module(f".{module}", __name__), name)
