"""What tests stand on: models and tokenizers built in code, real runs, and the fixtures."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftk.problems import ConfigError
from ftk_sdk.testing import make_plan
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer


def test_a_tiny_model_depends_on_its_seed_alone():
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, second, other = tiny_llama(seed=3), tiny_llama(seed=3), tiny_llama(seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.lm_head.weight, second.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_a_tiny_model_comes_in_the_type_that_is_asked_for():
    assert {p.dtype for p in tiny_llama(dtype=torch.float64).parameters()} == {torch.float64}
    assert sum(p.numel() for p in tiny_llama().parameters()) < 100_000


@pytest.mark.parametrize(
    "text", ["hello world", "  two  spaces\n", "\u4f60\u597d \U0001f600", "<|im_start|>user\nhi<|im_end|>"]
)
def test_the_tiny_tokenizer_encodes_any_text(text):
    tokenizer = tiny_tokenizer()
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) <= tiny_llama().config.vocab_size


def test_control_tokens_are_single_tokens():
    tokenizer = tiny_tokenizer(extra_tokens=("<|end|>",))
    assert [len(tokenizer(t)["input_ids"]) for t in ("<|im_start|>", "<|im_end|>", "<|end|>")] == [1, 1, 1]
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_the_fixtures_folder_holds_a_model_and_its_tokenizer(tiny_model_dir):
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny_model_dir),
        AutoTokenizer.from_pretrained(tiny_model_dir),
    )
    assert torch.equal(model.lm_head.weight, tiny_llama().lm_head.weight)
    assert tokenizer("hello")["input_ids"] == tiny_tokenizer()("hello")["input_ids"]
    assert tokenizer.chat_template == tiny_tokenizer().chat_template


def test_a_run_of_the_fixture_has_an_output_folder_of_its_own(ftk_run, tmp_path):
    run = ftk_run({"seed": 7}, components=["adapter:full"])
    assert (run.output_dir, run.seed) == (tmp_path / "out", 7)
    assert [c.id for c in run.plan.components] == ["adapter:full"]


def test_a_plan_is_made_as_from_a_file():
    assert "adapter:full" in make_plan({"finetuning_type": "full"})
    with pytest.raises(ConfigError, match="finetuning_typ"):
        make_plan({"finetuning_typ": "full"})
