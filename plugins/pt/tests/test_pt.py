import json
import math
import pickle

import pytest

from ft_plugin_pt import plugin
from ft_plugin_pt.stage import Perplexity, PtEncoder
from ftk.contracts import Encoded, Example
from ftk.execute import start
from ftk.problems import RowError, RunError
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_tokenizer

TEXT = "the quick brown fox jumps over the lazy dog while seven wizards pack my box"


class TestPlugin(PluginContract):
    plugin = plugin


class TestStage(StageContract):
    component = "stage:pt"
    rows = tuple({"text": f"{TEXT} number {n}"} for n in range(10))
    example = Example(text="the fox")
    loss_on = {"labels": ["the fox<|im_end|>"]}


def encode(text: str, cutoff_len: int) -> list[Encoded]:
    (sequences,) = PtEncoder(tiny_tokenizer(), cutoff_len=cutoff_len).encode([Example(text=text)])
    return sequences


def targets(sequences: list[Encoded]) -> list[int]:
    """What the sequences predict, in order: a label counts where a token comes before it."""
    return [label for s in sequences for label in s.columns["labels"][1:] if label != -100]


@pytest.mark.parametrize("cutoff_len", [2, 3, 7, 16, 1000])
def test_every_token_after_the_first_is_a_target_exactly_once_whatever_the_cutoff(cutoff_len):
    tokenizer = tiny_tokenizer()
    ids = [*tokenizer(TEXT)["input_ids"], tokenizer.eos_token_id]
    sequences = encode(TEXT, cutoff_len)
    assert targets(sequences) == ids[1:]
    assert all(len(s.columns["input_ids"]) <= cutoff_len and s.truncated == 0 for s in sequences)
    assert all(len(s.columns["labels"]) == len(s.columns["input_ids"]) for s in sequences)


@pytest.mark.parametrize("over", [-1, 0, 1, 2])
def test_a_document_about_as_long_as_the_cutoff_leaves_no_empty_sequence(over):
    n = len(tiny_tokenizer()(TEXT)["input_ids"]) + 1
    sequences = encode(TEXT, n - over)
    assert len(sequences) == (1 if over <= 0 else 2)
    assert all(len(s.columns["input_ids"]) >= 2 for s in sequences)


def test_a_sequence_that_goes_on_begins_with_the_token_before_as_context_only():
    first, second, *_ = encode(TEXT, 8)
    assert second.columns["input_ids"][0] == first.columns["input_ids"][-1]
    assert first.columns["labels"][0] != -100
    assert second.columns["labels"][0] == -100


def test_what_messages_say_is_text_too():
    talk = [{"role": "user", "content": "the fox"}, {"role": "assistant", "content": "lazy dog"}]
    encoder = PtEncoder(tiny_tokenizer(), cutoff_len=64)
    assert encoder.encode([Example(messages=talk)]) == encoder.encode([Example(text="the fox\nlazy dog")])


def test_rows_without_text_are_refused_and_the_others_are_not():
    results = PtEncoder(tiny_tokenizer(), cutoff_len=64).encode([Example(text=""), Example(text="fox"), Example()])
    assert [isinstance(r, RowError) for r in results] == [True, False, True]


def test_a_tokenizer_that_begins_texts_with_a_token_keeps_doing_so():
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>"})
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", tokenizer.bos_token_id)]
    )
    ((encoded,),) = PtEncoder(tokenizer, cutoff_len=64).encode([Example(text="the fox")])
    ids = encoded.columns["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)


def test_a_cutoff_that_leaves_nothing_to_predict_is_an_error():
    with pytest.raises(RunError, match="cutoff_len=1 leaves no token to predict"):
        PtEncoder(tiny_tokenizer(), cutoff_len=1)


def test_the_encoder_can_be_sent_to_other_processes():
    encoder = PtEncoder(tiny_tokenizer(), cutoff_len=8)
    assert pickle.loads(pickle.dumps(encoder)).encode([Example(text=TEXT)]) == encoder.encode([Example(text=TEXT)])


def test_evaluation_reports_the_perplexity(tmp_path, tiny_model_dir):
    (tmp_path / "text.txt").write_text("\n".join([TEXT] * 6))
    keys = {
        "stage": "pt",
        "finetuning_type": "full",
        "model_name_or_path": str(tiny_model_dir),
        "dataset": str(tmp_path / "text.txt"),
        "val_size": 2,
        "output_dir": str(tmp_path / "out"),
        "max_steps": 1,
        "do_train": True,
        "do_eval": True,
        "save_strategy": "no",
    }
    metrics = start(make_run(keys)).metrics
    assert metrics["eval_perplexity"] == pytest.approx(math.exp(metrics["eval_loss"]))
    assert json.loads((tmp_path / "out" / "eval_results.json").read_text())["eval_perplexity"] > 1


def test_a_perplexity_beyond_all_numbers_is_infinite():
    assert Perplexity().summary({"loss": 1e6})["perplexity"] == math.inf


def test_the_stage_has_another_name():
    assert "stage:pt" in make_plan({"stage": "pretrain"})
