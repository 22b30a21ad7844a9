"""The stage: what it learns from, what its losses are, that it resumes."""

import json
import math
import pickle

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification

from ft_plugin_rm import plugin
from ft_plugin_rm.loss import bradley_terry_loss
from ftk.contracts import Encoded, Example
from ftk.execute import start
from ftk.problems import ConfigError, RowError
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.evidence import checked
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer, write_tiny_model

ROWS = tuple(
    {"instruction": f"say {word} twice", "input": "", "chosen": f"{word} {word}", "rejected": f"the lazy dog {n}"}
    for n, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
)
ASK = [{"role": "user", "content": "hello"}]


def says(text):
    return [{"role": "assistant", "content": text}]


class TestPlugin(PluginContract):
    plugin = plugin


class TestStage(StageContract):
    component = "stage:rm"
    keys = {"template": "chatml"}
    rows = ROWS
    example = Example(messages=ASK, chosen=says("the fox"), rejected=says("lazy dog"))
    loss_on = {"chosen_labels": ["the fox<|im_end|>"], "rejected_labels": ["lazy dog<|im_end|>"]}


def random(*shape, seed, grad=True):
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.requires_grad_(grad)


@checked(stage="rm", loss="Bradley-Terry", against="float64 reference of equation 1 of arXiv:2203.02155")
@checked(stage="rm", loss="with margin", against="float64 reference of equation 2 of arXiv:2307.09288")
@checked(stage="rm", loss="centred", against="float64 reference of equation 2 of arXiv:2312.09244")
@pytest.mark.parametrize(("margin", "center"), [(False, 0.0), (True, 0.0), (False, 0.3), (True, 0.3)])
def test_the_loss_and_its_gradients_are_those_of_the_papers(margin, center):
    chosen, rejected = random(7, seed=1), random(7, seed=2)
    margins = random(7, seed=3, grad=False).abs() if margin else None
    made = bradley_terry_loss(chosen, rejected, margins, center=center)
    made.sum().backward()
    for i in range(7):
        c, r, m = chosen[i].item(), rejected[i].item(), margins[i].item() if margin else 0.0
        wrong = 1 / (1 + math.exp(c - r - m))
        assert made[i].item() == pytest.approx(-math.log(1 - wrong) + center * (c + r) ** 2, rel=0, abs=1e-9)
        assert chosen.grad[i].item() == pytest.approx(-wrong + 2 * center * (c + r), rel=0, abs=1e-9)
        assert rejected.grad[i].item() == pytest.approx(wrong + 2 * center * (c + r), rel=0, abs=1e-9)


def run_of(model_dir, tmp_path, rows=ROWS, **keys):
    data = tmp_path / "rows.json"
    data.write_text(json.dumps(list(rows)))
    fixed = {
        "stage": "rm",
        "template": "chatml",
        "model_name_or_path": str(model_dir),
        "dataset": str(data),
        "output_dir": str(tmp_path / "out"),
        "save_strategy": "no",
        "logging_steps": 1,
        "lr_scheduler_type": "constant",
    }
    return make_run(fixed | keys)


def logged(folder):
    return [json.loads(line) for line in (folder / "trainer_log.jsonl").read_text().splitlines()]


LORA = {"finetuning_type": "lora", "lora_rank": 4}


@pytest.mark.parametrize(
    "method",
    [
        {"finetuning_type": "full"},
        {"finetuning_type": "freeze", "freeze_trainable_layers": 1},
        LORA,
        LORA | {"use_dora": True},
    ],
    ids=["full", "freeze", "lora", "dora"],
)
def test_it_learns_the_order_of_pairs_that_it_has_not_seen_with_every_method(tiny_model_dir, tmp_path, method):
    # The better answer speaks of a fox, whatever else it says.
    words = ("dog", "box", "wizard", "jug", "hello", "world", "name", "model")
    rows = [
        {"instruction": f"say {a}", "chosen": f"{b} fox {a}", "rejected": f"{a} {b} over"} for a in words for b in words
    ]
    keys = method | dict(max_steps=20, learning_rate=1e-2, per_device_train_batch_size=8, val_size=16)
    result = start(run_of(tiny_model_dir, tmp_path, rows, **keys, do_train=True, do_eval=True))
    assert result.metrics["eval_accuracy"] > 0.8
    assert result.metrics["eval_chosen_score"] > result.metrics["eval_rejected_score"]
    assert (tmp_path / "out" / "value_head.safetensors").is_file()


def plain_scores(model, head, texts):
    """One text at a time, from hidden states that transformers gives out."""
    scores = []
    for text in texts:
        ids = tiny_tokenizer()(text, add_special_tokens=False, return_tensors="pt").input_ids
        hidden = model(ids, output_hidden_states=True).hidden_states[-1][0, -1]
        scores.append(hidden @ head["v_head.summary.weight"][0] + head["v_head.summary.bias"][0])
    return torch.stack(scores)


def texts_of(row):
    prompt = f"<|im_start|>user\n{row['instruction']}<|im_end|>\n<|im_start|>assistant\n"
    return [f"{prompt}{row[side]}<|im_end|>\n" for side in ("chosen", "rejected")]


@checked(stage="rm", loss="Bradley-Terry", against="a plain float64 loop from text to weights, 3 steps")
# Norms round gradients to float32: those of a prompt once, where it is computed once, or for each of its answers.
@pytest.mark.parametrize(("share", "tolerance"), [(False, 1e-9), (True, 1e-5)])
def test_a_run_from_its_config_equals_a_plain_loop(tmp_path, share, tolerance):
    start_model = tiny_llama(dtype=torch.float64, seed=3)
    start_model.save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    keys = dict(finetuning_type="full", max_steps=3, learning_rate=5e-3, per_device_train_batch_size=4)
    keys |= dict(model_dtype="float64", disable_shuffling=True, pref_shared_prompt=share)
    start(run_of(tmp_path / "model", tmp_path, **keys))

    # The head's first weights are those of a run that learns nothing.
    start(run_of(tmp_path / "model", tmp_path, **keys | dict(learning_rate=0.0, output_dir=str(tmp_path / "still"))))
    head = load_file(tmp_path / "still" / "value_head.safetensors")
    assert head["v_head.summary.weight"].std() == pytest.approx(33**-0.5, rel=0.5)
    weight = head["v_head.summary.weight"].requires_grad_()
    model = tiny_llama(dtype=torch.float64, seed=3)
    optimizer = torch.optim.AdamW([*model.parameters(), weight], lr=5e-3, weight_decay=0.0)
    losses = []
    for at in (0, 4, 8):
        pairs = [plain_scores(model, head, texts_of(row)) for row in ROWS[at : at + 4]]
        loss = torch.stack([-F.logsigmoid(pair[0] - pair[1]) for pair in pairs]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*model.parameters(), weight], 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert [entry["loss"] for entry in logged(tmp_path / "out")] == pytest.approx(losses, rel=0, abs=tolerance)
    saved = load_file(tmp_path / "out" / "value_head.safetensors")
    torch.testing.assert_close(saved["v_head.summary.weight"], weight.detach(), rtol=0, atol=tolerance)
    for name, value in load_file(tmp_path / "out" / "model.safetensors").items():
        torch.testing.assert_close(value, model.get_parameter(name).detach(), rtol=0, atol=tolerance)


RANKED = [{"instruction": f"say {n}", "answers": [f"{n} {n}", f"{n}", "fox"]} for n in range(8)]


def encoder_of(run):
    tokenizer = run.load_tokenizer()
    return run.encoder(tokenizer, run.load_template(tokenizer))


def test_ranked_answers_become_all_their_pairs(tiny_model_dir, tmp_path):
    encoder = encoder_of(run_of(tiny_model_dir, tmp_path, RANKED, rm_answers_column="answers"))
    answers = ["fox", "dog", [{"role": "assistant", "content": "box"}]]
    (pairs,) = encoder.encode([Example(text="hello", columns={"answers": answers})])
    sides = [[made.columns[f"{side}_labels"] for side in ("chosen", "rejected")] for made in pairs]
    read = [[tiny_tokenizer().decode([t for t in side if t != -100]).split("<")[0] for side in pair] for pair in sides]
    assert read == [["fox", "dog"], ["fox", "box"], ["dog", "box"]]


def test_ranked_answers_train(tiny_model_dir, tmp_path):
    keys = dict(finetuning_type="full", num_train_epochs=1, per_device_train_batch_size=24, rm_answers_column="answers")
    start(run_of(tiny_model_dir, tmp_path, RANKED, **keys))
    assert len([entry for entry in logged(tmp_path / "out") if "loss" in entry]) == 1  # 8 rows of 3 pairs each


@pytest.mark.parametrize(
    ("example", "keys", "message"),
    [
        (Example(messages=[*ASK, *says("fox")]), {}, "where this stage wants a chosen and a rejected answer"),
        (Example(messages=ASK, chosen=says("fox"), rejected=says("fox")), {}, "chosen and rejected are equal"),
        (Example(text="hi", columns={}), {"rm_answers_column": "a"}, "column 'a' is not a list of two answers or more"),
        (Example(text="hi", columns={"a": ["x"]}), {"rm_answers_column": "a"}, "is not a list of two answers or more"),
        (
            Example(text="hi", columns={"a": ["x", 3]}),
            {"rm_answers_column": "a"},
            "an answer is neither text nor a turn",
        ),
        (
            Example(text="hi", columns={"a": ["x", "y", "x"]}),
            {"rm_answers_column": "a"},
            "chosen and rejected are equal",
        ),
        (
            Example(messages=ASK, chosen=says("fox"), rejected=says("dog"), columns={"m": "much"}),
            {"rm_margin_column": "m"},
            "column 'm' is not a number",
        ),
    ],
)
def test_rows_of_another_kind_are_refused_with_the_reason(tiny_model_dir, tmp_path, example, keys, message):
    encoder = encoder_of(run_of(tiny_model_dir, tmp_path, **keys))
    (made,) = encoder.encode([example])
    assert isinstance(made, RowError) and message in str(made)


def test_a_margin_is_read_from_its_column(tiny_model_dir, tmp_path):
    encoder = encoder_of(run_of(tiny_model_dir, tmp_path, rm_margin_column="m"))
    example = Example(messages=ASK, chosen=says("fox"), rejected=says("dog"), columns={"m": 2})
    ((made,),) = encoder.encode([example])
    assert isinstance(made, Encoded)
    assert encoder.collate([made.columns, made.columns])["margin"].tolist() == [2.0, 2.0]


def test_the_encoder_can_be_sent_to_other_processes_and_says_what_it_depends_on(tiny_model_dir, tmp_path):
    encoders = [
        encoder_of(run_of(tiny_model_dir, tmp_path, **keys))
        for keys in ({}, {"rm_margin_column": "m"}, {"rm_answers_column": "m"}, {"cutoff_len": 9})
    ]
    assert len({encoder.fingerprint for encoder in encoders}) == 4
    assert pickle.loads(pickle.dumps(encoders[0])).fingerprint == encoders[0].fingerprint


def test_keys_that_contradict_are_refused():
    both = {"rm_margin_column": "m", "rm_answers_column": "a", "center_rewards_coefficient": -1}
    with pytest.raises(ConfigError) as stopped:
        make_plan(both, components=["stage:rm", "trainer:transformers"])
    assert "rm_answers_column makes several of a row" in str(stopped.value)
    assert "rm_center_coefficient=-1" in str(stopped.value)


@checked(
    stage="rm", loss=["Bradley-Terry", "centred"], against="TRL 1.16 RewardTrainer, 3 steps (where TRL is installed)"
)
@pytest.mark.parametrize("center", [0.0, 0.1])
def test_its_steps_are_those_of_trls_reward_trainer(tmp_path, monkeypatch, center):
    trl = pytest.importorskip("trl")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_tiny_model(tmp_path / "model", seed=3)
    keys = dict(finetuning_type="full", max_steps=3, learning_rate=5e-3, per_device_train_batch_size=4)
    keys |= dict(disable_shuffling=True, rm_center_coefficient=center)
    export = dict(learning_rate=0.0, rm_export_dir=str(tmp_path / "served"), output_dir=str(tmp_path / "still"))
    start(run_of(tmp_path / "model", tmp_path, **keys | export))  # TRL begins with the same weights
    start(run_of(tmp_path / "model", tmp_path, **keys))

    def ids(text):
        return tiny_tokenizer()(text, add_special_tokens=False)["input_ids"]

    sides = [[ids(text) for text in texts_of(row)] for row in ROWS]
    data = Dataset.from_list([{"chosen_ids": chosen, "rejected_ids": rejected} for chosen, rejected in sides])
    arguments = trl.RewardConfig(
        output_dir=str(tmp_path / "trl"),
        max_steps=3,
        learning_rate=5e-3,
        per_device_train_batch_size=4,
        lr_scheduler_type="constant",
        train_sampling_strategy="sequential",
        center_rewards_coefficient=center or None,
        logging_steps=1,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
    )
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "served", dtype=torch.float32)
    trainer = trl.RewardTrainer(model, arguments, train_dataset=data, processing_class=tiny_tokenizer())
    trainer.train()
    theirs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["loss"] for entry in logged(tmp_path / "out")] == pytest.approx(theirs, rel=0, abs=1e-5)
