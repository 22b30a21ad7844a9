"""LLaMA-Factory users' configs run unchanged, or say which plugin they lack."""

import json
from pathlib import Path

import pytest

from ftk.cli.session import open_plan
from ftk.problems import ConfigError
from ftk_sdk.testing import installed

HERE = Path(__file__).parent

HINTS = {
    "adam_mini": {"ft-plugin-adam-mini"},
    "apollo": {"ft-plugin-apollo"},
    "badam": {"ft-plugin-badam"},
    "export_gptq": {"ft-plugin-gptq"},
    "fp8": {"ft-plugin-fp8"},
    "full_sft_ds": {"ft-plugin-deepspeed"},
    "llamapro": {"ft-plugin-llamapro"},
    "long_context": {"ft-plugin-flash-attention", "ft-plugin-rope"},
    "lora_sft_ds3": {"ft-plugin-deepspeed"},
    "lora_sft_ray": {"ft-plugin-ray"},
    "loraplus": {"ft-plugin-loraplus"},
    "mod": {"ft-plugin-mixture-of-depths"},
    "neftune_liger": {"ft-plugin-liger", "ft-plugin-neftune"},
    "oft_sft": {"ft-plugin-oft"},
    "pissa": {"ft-plugin-pissa"},
    "qlora_bnb": {"ft-plugin-quantize"},
    "qlora_hqq": {"ft-plugin-quantize"},
    "rslora": {"ft-plugin-rslora"},
    "unsloth": {"ft-plugin-unsloth"},
    "vision": {"ft-plugin-vision"},
}
"""The plugins that a file needs and that this repository does not have yet. A file that is not here is accepted."""

DIFFERENT = {
    "disable_gradient_checkpointing",  # auto: on where memory is short, off on a CPU
    "finetuning_type",  # unset: the default component, which is theirs
    "stage",
    "freeze_trainable_modules",  # a list, of which "all" is one
    "infer_backend",  # our engine is called hf; the old word is an alias
    "lora_target",  # a list
    "interleave_probs",
    "overwrite_output_dir",
    "template",  # auto: the tokenizer's own, which theirs takes when it is not set
    "use_reentrant_gc",  # the form that works with frozen embeddings
    "pref_loss",  # a list, as several can be added up
    "reward_model_type",  # auto: told by the files that are there
}
"""Keys whose default is not LLaMA-Factory's, each on purpose."""


@pytest.mark.parametrize("path", sorted(HERE.glob("llamafactory/*.yaml")), ids=lambda p: p.stem)
def test_a_config_is_accepted_or_names_the_plugins_it_lacks(path):
    wanted = HINTS.get(path.stem, set())
    try:
        open_plan(str(path), installed=installed())
    except ConfigError as e:
        errors = [p for p in e.problems if p.level == "error"]
        assert {p.hint for p in errors} == {f"pip install {dist}" for dist in wanted}, str(e)
        assert all(p.origin and p.origin.line for p in errors), str(e)
    else:
        assert not wanted, f"{path.stem} is accepted now: take it out of HINTS"


def test_every_argument_has_an_owner():
    catalog = installed().index.catalog
    known = {*installed().index, *catalog.keys, *(a.old for a in installed().aliases())}
    assert sorted(set(json.loads((HERE / "keys.json").read_text())) - known) == []


def test_defaults_are_theirs_unless_said_otherwise():
    index = installed().index
    theirs = json.loads((HERE / "keys.json").read_text())
    ours = {k: index[k].default for k in index} | {
        k: e.default for k, e in index.catalog.keys.items() if k not in index
    }
    odd = {k: (v, ours[k]) for k, v in theirs.items() if k in ours and ours[k] != v and k not in DIFFERENT}
    assert odd == {}
