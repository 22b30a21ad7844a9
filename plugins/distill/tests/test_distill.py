import json
import math

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from ft_plugin_distill import plugin
from ft_plugin_distill.loss import generalized_jsd, top_k_jsd
from ft_plugin_trainer.predictions import PredictionLoss
from ftk.contracts import Example
from ftk.execute import start
from ftk.markers import hookimpl
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.evidence import checked
from ftk_sdk.fakes import installed_with
from ftk_sdk.fakes import plugin as fake_plugin
from ftk_sdk.testing import log_of, make_plan, make_run, short_training
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer, write_tiny_model

ROWS = [
    {"instruction": f"say {'hello ' * (n % 3)}{n}", "output": f"the answer is {'lazy ' * (n % 4)}{n}"}
    for n in range(12)
]


class TestPlugin(PluginContract):
    plugin = plugin


class TestStage(StageContract):
    component = "stage:distill"
    keys = {"template": "chatml"}
    rows = ROWS
    example = Example(messages=[{"role": "user", "content": "hello"}, {"role": "assistant", "content": "lazy dog"}])
    loss_on = {"labels": ["lazy dog<|im_end|>"]}

    def keys_for(self, model, folder):
        teacher = folder.parent / "teacher"
        if not teacher.exists():
            write_tiny_model(teacher, seed=1)
        return {**super().keys_for(model, folder), "teacher_model": str(teacher)}


def predictions(n=9, v=23):
    g = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, n, v, generator=g, dtype=torch.float64).mul(2)
    return student.requires_grad_(), teacher


@pytest.mark.parametrize("beta", [0.0, 0.2, 0.5, 1.0])
@checked(
    stage="distill",
    loss="generalised JSD",
    against="float64 reference of eq. 1 of arXiv:2306.13649, value and gradient",
)
def test_the_divergence_is_the_papers(beta):
    student, teacher = predictions()
    made = generalized_jsd(student.log_softmax(-1), teacher.log_softmax(-1), beta=beta)

    def kl(p, q):
        return sum(p[v] * (p[v] / q[v]).log() for v in range(len(p)))

    expected = []
    for q, p in zip(student.softmax(-1), teacher.softmax(-1), strict=True):
        m = beta * p + (1 - beta) * q
        limit = kl(p, q) if beta == 0 else kl(q, p)
        expected.append(limit if beta in (0, 1) else beta * kl(p, m) + (1 - beta) * kl(q, m))
    expected = torch.stack(expected)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-9)
    ours, theirs = (torch.autograd.grad(x.sum(), student, retain_graph=True)[0] for x in (made, expected))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@checked(
    stage="distill", loss="generalised JSD", against="TRL 1.16 GKDTrainer.generalized_jsd_loss, value and gradient"
)
def test_the_divergence_is_trls(beta, monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    gkd = pytest.importorskip("trl.experimental.gkd")
    student, teacher = predictions()
    made = generalized_jsd((student / 0.8).log_softmax(-1), (teacher / 0.8).log_softmax(-1), beta=beta).sum()
    expected = gkd.GKDTrainer.generalized_jsd_loss(
        student[None], teacher[None], beta=beta, temperature=0.8, reduction="sum"
    )
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-9)
    ours, theirs = (torch.autograd.grad(x, student, retain_graph=True)[0] for x in (made, expected))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_most_likely_tokens_are_exact_when_they_are_all_and_a_lower_bound_otherwise(beta):
    student, teacher = predictions()
    student_logp, teacher_logp = student.log_softmax(-1), teacher.log_softmax(-1)
    whole = generalized_jsd(student_logp, teacher_logp, beta=beta)
    before = torch.zeros_like(whole)
    for k in (1, 5, 15, 22, 23):
        logp, ids = teacher_logp.topk(k)
        made = top_k_jsd(student_logp, ids, logp, beta=beta)
        assert (made >= before - 1e-12).all() and (made <= whole + 1e-12).all()
        before = made
    torch.testing.assert_close(made, whole, rtol=0, atol=1e-12)


@checked(
    stage="distill",
    loss="top-k JSD",
    against="float64 reference with one outcome for all other tokens, value and gradient",
)
def test_other_tokens_are_one_outcome():
    student, teacher = predictions()
    logp, ids = teacher.log_softmax(-1).topk(4)
    made = top_k_jsd(student.log_softmax(-1), ids, logp, beta=0.0)
    expected = []
    for q, p, top in zip(student.softmax(-1), teacher.softmax(-1), ids.tolist(), strict=True):
        rest_p, rest_q = (sum(x[v] for v in range(23) if v not in top) for x in (p, q))
        expected.append(sum(p[v] * (p[v] / q[v]).log() for v in top) + rest_p * (rest_p / rest_q).log())
    expected = torch.stack(expected)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-9)
    ours, theirs = (torch.autograd.grad(x.sum(), student, retain_graph=True)[0] for x in (made, expected))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


@pytest.fixture
def teacher_dir(tmp_path):
    return write_tiny_model(tmp_path / "teacher", seed=1)


def logged(model_dir, teacher, folder, rows=ROWS, **keys):
    own = {"stage": "distill", "model_name_or_path": str(model_dir), "teacher_model": str(teacher)}
    start(make_run(short_training(folder, rows, **(own | {"model_dtype": "float64"} | keys))))
    return log_of(folder / "out")


def losses(*args, **keys):
    return [entry["loss"] for entry in logged(*args, **keys) if "loss" in entry]


def test_the_first_loss_is_the_divergence_of_full_logits(tiny_model_dir, teacher_dir, tmp_path):
    (made,) = losses(tiny_model_dir, teacher_dir, tmp_path / "run", rows=ROWS[:4], max_steps=1, distill_temperature=0.7)
    tokenizer, total, n = tiny_tokenizer(), 0.0, 0
    student, teacher = (LlamaForCausalLM.from_pretrained(d, dtype=torch.float64) for d in (tiny_model_dir, teacher_dir))
    for row in ROWS[:4]:
        prompt = f"<|im_start|>user\n{row['instruction']}<|im_end|>\n<|im_start|>assistant\n"
        p, a = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (prompt, f"{row['output']}<|im_end|>\n"))
        with torch.no_grad():
            both = [m(torch.tensor([p + a])).logits[0, len(p) - 1 : -1] / 0.7 for m in (student, teacher)]
        q, p = (x.softmax(-1) for x in both)
        m = (p + q) / 2
        total += 0.5 * ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()).item()
        n += len(a)
    assert made == pytest.approx(total / n, abs=1e-9)


def test_predictions_on_disk_give_the_same_run_and_are_found_again(tiny_model_dir, teacher_dir, tmp_path, caplog):
    caplog.set_level("INFO", "ftk")
    live = losses(tiny_model_dir, teacher_dir, tmp_path / "live")
    keys = {"distill_cache": str(tmp_path / "cache"), "distill_top_k": 512}
    first = losses(tiny_model_dir, teacher_dir, tmp_path / "first", **keys)
    assert first == pytest.approx(live, abs=1e-9)
    assert "asking the teacher about 12 rows" in caplog.text
    caplog.clear()
    again = losses(tiny_model_dir, teacher_dir, tmp_path / "again", **keys)
    assert again == first
    assert "asking the teacher" not in caplog.text
    fewer = losses(tiny_model_dir, teacher_dir, tmp_path / "fewer", **(keys | {"distill_top_k": 8}))
    assert "asking the teacher" in caplog.text
    assert 0 < fewer[0] < live[0]


@pytest.mark.parametrize("top_k", [None, 16])
def test_evaluation_does_not_depend_on_its_batch_size(tiny_model_dir, teacher_dir, tmp_path, top_k):
    results = []
    for size in (1, 5):
        folder = tmp_path / str(size)
        keys = {"per_device_eval_batch_size": size, "do_eval": True, "do_train": True, "distill_top_k": top_k}
        logged(tiny_model_dir, teacher_dir, folder, eval_dataset=str(folder / "rows.json"), **keys)
        results.append(json.loads((folder / "out" / "eval_results.json").read_text())["eval_loss"])
    assert results[0] == pytest.approx(results[1], abs=1e-9)


def test_the_student_comes_nearer_to_its_teacher(tiny_model_dir, teacher_dir, tmp_path):
    for name, keys in {"data": {}, "own": {"distill_on_policy": 1.0, "max_new_tokens": 8}}.items():
        made = losses(tiny_model_dir, teacher_dir, tmp_path / name, max_steps=25, learning_rate=1e-2, **keys)
        assert sum(made[-5:]) < 0.7 * sum(made[:5]), name


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_student_answers_that_share_of_the_rows(tiny_model_dir, teacher_dir, tmp_path, share):
    keys = {"distill_on_policy": share, "max_new_tokens": 4, "max_steps": 12}
    log = logged(tiny_model_dir, teacher_dir, tmp_path, **keys)
    mean = sum(entry["on_policy"] for entry in log if "on_policy" in entry) / 12
    assert mean == pytest.approx(share, abs=0.2)
    assert all(math.isfinite(entry["loss"]) for entry in log if "loss" in entry)


class HalfTheGap:
    @hookimpl
    def ftk_loss(self):
        return PredictionLoss(lambda at: (at.logprobs_NV.exp() - at.reference_logprobs_NV.exp()).abs().sum(-1) / 2)


def test_a_divergence_of_somebody_else_takes_the_place_of_its_own(tiny_model_dir, teacher_dir, tmp_path):
    offered = installed_with(fake_plugin(offers={"loss:half-the-gap": HalfTheGap}, fields={"default": True}))
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    keys = {
        "stage": "distill",
        "model_name_or_path": str(teacher_dir),
        "teacher_model": str(teacher_dir),
        "template": "chatml",
        "dataset": str(tmp_path / "rows.json"),
        "output_dir": str(tmp_path / "out"),
        "max_steps": 1,
        "save_strategy": "no",
    }
    assert start(make_run(keys, plugins=offered)).metrics["train_loss"] == pytest.approx(0, abs=1e-6)


def test_an_adapter_alone_trains(tiny_model_dir, teacher_dir, tmp_path):
    logged(tiny_model_dir, teacher_dir, tmp_path, finetuning_type="lora", max_steps=1)
    assert all("lora_" in name for name in load_file(tmp_path / "out" / "adapter_model.safetensors"))


def test_a_teacher_of_another_vocabulary_is_refused(tiny_model_dir, tmp_path):
    tiny_llama().save_pretrained(tmp_path / "other")
    tiny_tokenizer(extra_tokens=("<|new|>",)).save_pretrained(tmp_path / "other")
    with pytest.raises(RunError, match="teacher_model: .* has another vocabulary"):
        logged(tiny_model_dir, tmp_path / "other", tmp_path / "run")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "teacher_model is not set"),
        ({"teacher_model": "x", "distill_beta": 1.5}, "distill_beta=1.5 is not between 0 and 1"),
        ({"teacher_model": "x", "distill_temperature": 0.0}, "distill_temperature=0.0 is not positive"),
        ({"teacher_model": "x", "distill_top_k": 0}, "distill_top_k=0 is not positive"),
        ({"teacher_model": "x", "distill_top_k": 4, "distill_on_policy": 0.5}, "unset one of the two"),
    ],
)
def test_values_that_make_no_sense_are_errors(keys, message):
    with pytest.raises(ConfigError, match=message):
        make_plan({"stage": "distill", **keys})


@pytest.mark.parametrize(
    ("row", "message"),
    [({"text": "raw"}, "raw text, where 'stage: distill' wants messages")],
)
def test_rows_of_another_kind_are_refused(tiny_model_dir, teacher_dir, tmp_path, row, message):
    with pytest.raises(RunError, match=message):
        logged(tiny_model_dir, teacher_dir, tmp_path / "run", rows=[row] * 4)
