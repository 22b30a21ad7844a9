import json
import math

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from ft_plugin_kto import plugin
from ft_plugin_kto.answers import ANSWER, OTHER, AnswerCollator, joined, lengths_of, with_one
from ft_plugin_kto.loss import apo_zero_unpaired_loss, kto_loss
from ft_plugin_kto.mismatched import derangement, with_other_answers
from ft_plugin_kto.objective import AnswerScores
from ft_plugin_preference.precomputed import FOLDER
from ftk.contracts import Example
from ftk.execute import start
from ftk.markers import hookimpl
from ftk.problems import ConfigError, RowError, RunError
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.evidence import checked
from ftk_sdk.fakes import installed_with
from ftk_sdk.fakes import plugin as fake_plugin
from ftk_sdk.testing import log_of, make_plan, make_run, short_training
from ftk_sdk.tiny import tiny_llama

ROWS = [
    {
        "instruction": f"say {'hello ' * (n % 3)}{n}",
        "output": f"the answer {'lazy ' * (n % 4)}{n}",
        "kto_tag": n % 3 > 0,
    }
    for n in range(12)
]
TALK = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "the fox"}]


class TestPlugin(PluginContract):
    plugin = plugin


class TestStage(StageContract):
    component = "stage:kto"
    keys = {"template": "chatml", "pref_beta": 0.5}
    rows = ROWS
    example = Example(messages=[*TALK, TALK[0], {"role": "assistant", "content": "lazy dog"}], desirable=True)
    loss_on = {"answer_labels": ["lazy dog<|im_end|>"]}


@pytest.mark.parametrize("kl", [0.0, 0.7])
@checked(stage="kto", loss="kto", against="float64 reference of eq. 7 of arXiv:2402.01306, value and gradient")
def test_the_loss_is_the_papers(kl):
    g = torch.Generator().manual_seed(0)
    logratios = torch.randn(9, generator=g, dtype=torch.float64).mul(3).requires_grad_()
    good = torch.rand(9, generator=g) < 0.5
    made = kto_loss(logratios, good, beta=0.3, kl=torch.tensor(kl, dtype=torch.float64))

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    values = [
        sigmoid(0.3 * (r - kl)) if d else sigmoid(0.3 * (kl - r)) for r, d in zip(logratios.tolist(), good, strict=True)
    ]
    slopes = [(-0.3 if d else 0.3) * v * (1 - v) for v, d in zip(values, good.tolist(), strict=True)]
    torch.testing.assert_close(made, 1 - torch.tensor(values, dtype=torch.float64), rtol=0, atol=1e-9)
    (grad,) = torch.autograd.grad(made.sum(), logratios)
    torch.testing.assert_close(grad, torch.tensor(slopes, dtype=torch.float64), rtol=0, atol=1e-9)


@checked(
    stage="kto", loss="apo_zero_unpaired", against="float64 reference of eq. 7 of arXiv:2408.06266, value and gradient"
)
def test_apo_zero_is_the_papers():
    logratios = torch.linspace(-4, 4, 8, dtype=torch.float64, requires_grad=True)
    good = torch.tensor([True, False] * 4)
    made = apo_zero_unpaired_loss(logratios, good, beta=0.7, kl=5.0)
    p = 1 / (1 + (-0.7 * logratios).exp())
    expected = torch.stack([1 - v if d else v for v, d in zip(p, good.tolist(), strict=True)])
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-9)
    ours, theirs = (torch.autograd.grad(x.sum(), logratios, retain_graph=True)[0] for x in (made, expected))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("n", [2, 3, 10, 101])
def test_no_row_keeps_its_own_answer_and_none_is_used_twice(n):
    other = derangement(n, seed=42)
    assert sorted(other) == list(range(n))
    assert all(i != j for i, j in enumerate(other))


def test_other_answers_depend_on_the_seed_and_not_on_the_order_of_draws():
    rows = Dataset.from_list([{"answer_input_ids": [n, n], "answer_labels": [n, -100]} for n in range(20)])
    made = with_other_answers(rows, seed=1)
    assert made["other_input_ids"] != with_other_answers(rows, seed=2)["other_input_ids"]
    shuffled = made.shuffle(seed=3)
    assert {tuple(r["answer_input_ids"]): r["other_labels"][0] for r in shuffled} == {
        tuple(r["answer_input_ids"]): r["other_labels"][0] for r in made
    }
    assert all(r["other_input_ids"][0] == r["other_labels"][0] != r["answer_input_ids"][0] for r in made)


def test_one_row_is_not_enough():
    with pytest.raises(RunError, match="at least 2 rows"):
        with_other_answers(Dataset.from_list([{"answer_input_ids": [1], "answer_labels": [1]}]), seed=0)


THREE = [
    {
        "prompt_input_ids": [11, 12, 13],
        "answer_input_ids": [21, 22],
        "answer_labels": [21, 22],
        "other_input_ids": [31, 32, 33, 34],
        "other_labels": [31, -100, 33, 34],
        "desirable": True,
    },
    {
        "prompt_input_ids": [41],
        "answer_input_ids": [51, 52, 53],
        "answer_labels": [51, 52, 53],
        "other_input_ids": [61],
        "other_labels": [61],
        "desirable": False,
    },
]


def test_both_answers_of_a_row_begin_with_the_last_token_of_the_prompt_and_end_at_cutoff_len():
    batch = AnswerCollator(0, cutoff_len=6)(THREE)
    assert batch["input_ids"].tolist() == [[11, 12, 13, 21, 22, 13, 31, 32, 33], [41, 51, 52, 53, 41, 61, 0, 0, 0]]
    assert batch["segments"].tolist() == [[0, 0, 1, 1, 1, 2, 2, 2, 2], [1, 1, 1, 1, 2, 2, 3, 3, 3]]
    assert batch["labels"][0].tolist() == [-100, -100, -100, 21, 22, -100, 31, -100, 33]
    assert lengths_of(batch).tolist() == [[2, 3, 4], [0, 4, 2]]


def test_one_of_both_answers_makes_the_batch_that_there_would_be_without_the_other():
    rows = [row | {f"answer_{name}": row[f"other_{name}"] for name in ("input_ids", "labels")} for row in THREE]
    alone = AnswerCollator(0, cutoff_len=99)(
        [{key: value for key, value in row.items() if not key.startswith("other")} for row in rows]
    )
    made = with_one(AnswerCollator(0, cutoff_len=99)(THREE), OTHER)
    assert made["segments"].tolist() == alone["segments"].tolist()
    real = alone["segments"] != 3
    for name in ("input_ids", "labels", "attention_mask"):
        assert torch.equal(made[name][real], alone[name][real]), name
    assert made["attention_mask"].sum() == real.sum() and (made["labels"][~real] == -100).all()


def test_batches_of_other_widths_are_joined_to_the_batch_that_their_rows_make():
    collate = AnswerCollator(0, cutoff_len=99)
    whole, made = collate(THREE), joined([collate([row]) for row in THREE])
    assert made.keys() == whole.keys() and all(torch.equal(made[name], whole[name]) for name in whole)


@pytest.mark.parametrize("window", [None, 3], ids=["together", "apart"])
@checked(
    stage="kto", loss="prompt shared by both answers", against="one conversation at a time from whole logits in float64"
)
def test_both_answers_have_the_log_probabilities_that_they_have_alone(window):
    model = tiny_llama(vocab_size=128).to(torch.float64).eval()
    expected = []
    for row in THREE:
        for name in ("answer", "other"):
            ids, labels = (torch.tensor(row["prompt_input_ids"] + row[f"{name}_{c}"]) for c in ("input_ids", "labels"))
            with torch.no_grad():
                logp = model(input_ids=ids[None]).logits[0].log_softmax(-1)
            at = [i for i in range(len(row["prompt_input_ids"]), len(ids)) if labels[i] != -100]
            expected.append(sum(logp[i - 1, ids[i]] for i in at))
    model.config.sliding_window = window  # which this model does not heed, and rows with branches do not fit into
    batch = AnswerCollator(0, cutoff_len=99)(THREE)
    with torch.no_grad():
        made = AnswerScores(None)(model, batch)
        alone = [AnswerScores(None)(model, with_one(batch, part))[:, 0] for part in (ANSWER, OTHER)]
    torch.testing.assert_close(made.flatten(), torch.stack(expected), rtol=0, atol=1e-9)
    torch.testing.assert_close(torch.stack(alone, 1), made, rtol=0, atol=1e-9)


def run_of(model_dir, folder, rows=ROWS, plugins=None, **keys):
    keys = {"stage": "kto", "model_name_or_path": str(model_dir)} | keys
    return make_run(short_training(folder, rows, **keys), plugins=plugins)


def logged(run):
    start(run)
    return log_of(run.output_dir)


def encoder_of(model_dir, **keys):
    run = make_run({"stage": "kto", "model_name_or_path": str(model_dir), "template": "chatml", **keys})
    tokenizer = run.load_tokenizer()
    return run.encoder(tokenizer, run.load_template(tokenizer))


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (Example(text="raw"), "raw text, where this stage wants an answer and a verdict on it"),
        (Example(messages=TALK), "no verdict"),
        (Example(messages=TALK[:1], desirable=True), "does not end with an answer"),
        (Example(messages=TALK[1:], desirable=True), "no prompt"),
        (Example(messages=[TALK[0], {"role": "assistant", "content": " "}], desirable=False), "the answer is empty"),
        (
            Example(messages=[{"role": "user", "content": "long " * 50}, TALK[1]], desirable=True),
            "where cutoff_len is 32",
        ),
    ],
)
def test_rows_that_it_cannot_use_are_refused(tiny_model_dir, example, message):
    (refused,) = encoder_of(tiny_model_dir, cutoff_len=32, truncation="drop").encode([example])
    assert isinstance(refused, RowError) and message in str(refused)


def test_a_pair_becomes_a_good_and_a_bad_answer(tiny_model_dir):
    pair = Example(messages=TALK[:1], chosen=TALK[1:], rejected=[{"role": "assistant", "content": "lazy dog"}])
    alone = Example(messages=TALK, desirable=True)
    ((good, bad), (expected,)) = encoder_of(tiny_model_dir).encode([pair, alone])
    assert good == expected
    assert (good.columns["desirable"], bad.columns["desirable"]) == (True, False)
    assert good.columns["prompt_input_ids"] == bad.columns["prompt_input_ids"]


def talk(row):
    return {
        "prompt": [{"role": "user", "content": row["instruction"]}],
        "completion": [{"role": "assistant", "content": row["output"]}],
        "label": row["kto_tag"],
    }


@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired"])
@checked(stage="kto", loss=["kto", "apo_zero_unpaired"], against="TRL 1.16 KTOTrainer, 3 steps: loss, rewards, kl")
def test_a_run_has_the_losses_of_trls(tiny_model_dir, tmp_path, loss):
    trl = pytest.importorskip("trl")
    rows = ROWS[:4]
    # TRL gives a row the answer of the row before it, within a batch.
    seed = next(s for s in range(100) if derangement(4, s).tolist() == [3, 0, 1, 2])
    shared = {
        "per_device_train_batch_size": 4,
        "max_steps": 3,
        "logging_steps": 1,
        "learning_rate": 5e-3,
        "lr_scheduler_type": "constant",
        "save_strategy": "no",
    }
    keys = {"kto_loss": loss, "pref_beta": 0.4, "kto_chosen_weight": 1.3, "undesirable_weight": 0.8, "seed": seed}
    run = run_of(tiny_model_dir, tmp_path / "ours", rows, train_sampling_strategy="sequential", **keys)
    ours = logged(run)
    args = trl.KTOConfig(
        output_dir=str(tmp_path / "trl"),
        beta=0.4,
        loss_type=loss,
        desirable_weight=1.3,
        undesirable_weight=0.8,
        use_cpu=True,
        bf16=False,
        report_to="none",
        train_sampling_strategy="sequential",
        **shared,
    )
    trainer = trl.KTOTrainer(
        model=LlamaForCausalLM.from_pretrained(tiny_model_dir),
        ref_model=LlamaForCausalLM.from_pretrained(tiny_model_dir),
        args=args,
        train_dataset=Dataset.from_list([talk(row) for row in rows]),
        processing_class=run.load_tokenizer(),
    )
    trainer.train()
    theirs = [entry for entry in trainer.state.log_history if "loss" in entry]
    for name in ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins"):
        assert [e[name] for e in ours] == pytest.approx([e[name] for e in theirs], rel=0, abs=1e-5), name
    if loss == "kto":
        # Theirs is clamped at 0, ours is what was measured.
        assert [max(e["kl"], 0) for e in ours] == pytest.approx([e["kl"] for e in theirs], rel=1e-4, abs=1e-5)
        assert ours[2]["kl"] > 0.1
    assert abs(ours[2]["loss"] - ours[0]["loss"]) > 1e-3


def test_pref_ftx_adds_the_cross_entropy_of_good_answers_however_batches_are_cut(tiny_model_dir, tmp_path):
    keys = {"model_dtype": "float64", "pref_ftx": 0.7, "max_steps": 2, "disable_shuffling": True}
    plain = logged(run_of(tiny_model_dir, tmp_path / "plain", **(keys | {"pref_ftx": 0.0})))
    whole = logged(run_of(tiny_model_dir, tmp_path / "whole", **keys))
    cut = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    by_row = logged(run_of(tiny_model_dir, tmp_path / "rows", **keys, **cut))
    assert whole[0]["loss"] == pytest.approx(plain[0]["loss"] + 0.7 * whole[0]["sft_loss"], abs=1e-9)
    assert [e["loss"] for e in by_row] == pytest.approx([e["loss"] for e in whole], rel=0, abs=1e-9)


def test_evaluation_does_not_depend_on_its_batch_size(tiny_model_dir, tmp_path):
    results = []
    for size in (1, 3, 12):
        keys = {
            "per_device_eval_batch_size": size,
            "model_dtype": "float64",
            "do_eval": True,
            "do_train": True,
            "pref_ftx": 0.3,
        }
        folder = tmp_path / str(size)
        run = run_of(tiny_model_dir, folder, **keys, eval_dataset=str(folder / "rows.json"))
        start(run)
        results.append(json.loads((run.output_dir / "eval_results.json").read_text()))
    for name in ("loss", "kl", "sft_loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen"):
        first, *others = [result[f"eval_{name}"] for result in results]
        assert others == pytest.approx([first] * 2, rel=0, abs=1e-9), name
    assert results[0]["eval_kl"] != 0


@pytest.mark.parametrize("keys", [{}, {"kto_loss": "apo_zero_unpaired"}], ids=["kto", "apo_zero"])
def test_a_reference_computed_before_gives_the_same_curve(tiny_model_dir, tmp_path, keys):
    keys = keys | {"model_dtype": "float64", "eval_strategy": "steps", "eval_steps": 1, "max_steps": 4}
    kinds = {"plain": False, "before": True}
    plain, before = (
        logged(
            run_of(
                tiny_model_dir,
                tmp_path / name,
                **keys,
                eval_dataset=str(tmp_path / name / "rows.json"),
                precompute_ref_log_probs=wanted,
            )
        )
        for name, wanted in kinds.items()
    )
    assert [entry.keys() for entry in before] == [entry.keys() for entry in plain]
    for name in ("loss", "rewards/margins", "eval_loss", *(["kl", "eval_kl"] if "kto_loss" not in keys else [])):
        ours, theirs = ([entry[name] for entry in log if name in entry] for log in (before, plain))
        assert len(ours) == 4 and ours == pytest.approx(theirs, rel=0, abs=1e-9), name
    assert sorted(p.name for p in (tmp_path / "before" / "out" / FOLDER).iterdir()) == [
        "eval.safetensors",
        "train.safetensors",
    ]


def test_a_reference_is_computed_again_where_other_answers_are_cut_elsewhere(tiny_model_dir, tmp_path, caplog):
    caplog.set_level("INFO", "ftk")
    keys = {"precompute_ref_log_probs": True, "overwrite_output_dir": True, "max_steps": 1}

    def computed(**more):
        caplog.clear()
        logged(run_of(tiny_model_dir, tmp_path, **keys, **more))
        return "are computed" in caplog.text

    assert computed()
    assert not computed(learning_rate=1e-4)
    assert computed(seed=7)
    assert computed(seed=7, cutoff_len=60)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_policy_that_has_learnt_nothing_does_not_differ_from_its_reference(tiny_model_dir, tmp_path, dtype):
    keys = {"model_dtype": dtype, "pure_bf16": dtype == "bfloat16", "max_steps": 1, "kto_chosen_weight": 0.5}
    (entry,) = logged(run_of(tiny_model_dir, tmp_path, **keys))
    tolerance = 0 if dtype == "bfloat16" else 1e-5  # in 16 bits all is computed in the same shapes
    for name in ("kl", "rewards/chosen", "rewards/rejected"):
        assert entry[name] == pytest.approx(0, abs=tolerance), name


@pytest.mark.parametrize("tag", [True, False])
def test_answers_of_one_kind_train_with_a_warning(tiny_model_dir, tmp_path, caplog, tag):
    log = logged(run_of(tiny_model_dir, tmp_path, [{**row, "kto_tag": tag} for row in ROWS]))
    assert all(math.isfinite(entry["loss"]) for entry in log)
    assert "rewards/margins" not in log[0]
    assert f"all 12 answers are {'good' if tag else 'bad'} ones" in caplog.text


def test_imbalanced_answers_are_told_with_a_weight_that_helps(tiny_model_dir, tmp_path, caplog):
    logged(run_of(tiny_model_dir, tmp_path / "first"))
    assert "8 good and 4 bad answers weigh 2.00 to 1" in caplog.text
    assert "set kto_chosen_weight: 0.50" in caplog.text
    caplog.clear()
    logged(run_of(tiny_model_dir, tmp_path / "second", kto_chosen_weight=0.5))
    assert "answers weigh" not in caplog.text


class Squared:
    @hookimpl
    def ftk_loss(self):
        return lambda logratios_B, desirable_B, *, beta, kl: (beta * (logratios_B - kl)) ** 2 + 3.0


def test_a_loss_of_somebody_else_takes_the_place_of_its_own(tiny_model_dir, tmp_path):
    offered = installed_with(fake_plugin(offers={"loss:squared": Squared}, fields={"default": True}))
    assert logged(run_of(tiny_model_dir, tmp_path, plugins=offered, max_steps=1))[0]["loss"] == pytest.approx(
        3.0, abs=1e-5
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"pref_beta": 0.0}, "pref_beta=0.0 is not positive"),
        ({"kto_chosen_weight": -1.0}, "kto_chosen_weight=-1.0 is negative"),
        ({"streaming": True, "max_steps": 3}, "a stream does not show"),
    ],
)
def test_values_that_make_no_sense_are_errors(keys, message):
    with pytest.raises(ConfigError, match=message):
        make_plan({"stage": "kto", **keys})


def test_the_adapter_alone_trains(tiny_model_dir, tmp_path):
    run = run_of(tiny_model_dir, tmp_path, finetuning_type="lora", max_steps=1)
    logged(run)
    assert all("lora_" in name for name in load_file(run.output_dir / "adapter_model.safetensors"))
