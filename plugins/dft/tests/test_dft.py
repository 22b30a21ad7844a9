import json

import pytest
import torch
from datasets import Dataset
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from ft_plugin_dft import plugin
from ftk.contracts import Example
from ftk.execute import start
from ftk.problems import ConfigError
from ftk_sdk.contracts import LossContract, PluginContract
from ftk_sdk.evidence import checked
from ftk_sdk.testing import make_plan, make_run

BESIDE = ("stage:sft", "trainer:transformers")


class TestPlugin(PluginContract):
    plugin = plugin


class TestLoss(LossContract):
    component = "loss:dft"
    keys = {"use_dft_loss": True}
    beside = BESIDE

    def arguments(self):
        g = torch.Generator().manual_seed(0)
        logits = torch.randn(13, 29, generator=g, dtype=torch.float64).mul(3).requires_grad_()
        return {"logits_NV": logits, "targets_N": torch.randint(29, (13,), generator=g)}

    def reference(self, logits_NV, targets_N):
        return torch.stack([-p[y].detach() * p[y].log() for p, y in zip(logits_NV.softmax(-1), targets_N, strict=True)])

    @checked(stage="sft", loss="dft", against="float64 reference of arXiv:2508.05629, value and gradient")
    def test_its_gradient_is_that_of_its_reference(self):
        super().test_its_gradient_is_that_of_its_reference()


ROWS = [{"instruction": f"say {n}", "output": f"the answer is {'lazy ' * (n % 5)}{n}"} for n in range(8)]


@checked(stage="sft", loss="dft", against="TRL 1.16 SFTTrainer, 3 steps")
def test_a_run_has_the_losses_of_trls(tiny_model_dir, tmp_path):
    trl = pytest.importorskip("trl")
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    keys = {
        "model_name_or_path": str(tiny_model_dir),
        "template": "chatml",
        "finetuning_type": "full",
        "dataset": str(tmp_path / "rows.json"),
        "output_dir": str(tmp_path / "out"),
        "use_dft_loss": True,
    }
    settings = {
        "per_device_train_batch_size": 8,
        "max_steps": 3,
        "logging_steps": 1,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "save_strategy": "no",
    }
    run = make_run(keys | settings)
    start(run)
    ours = [json.loads(line)["loss"] for line in (tmp_path / "out" / "trainer_log.jsonl").read_text().splitlines()]
    tokenizer = run.load_tokenizer()
    encoder = run.encoder(tokenizer, run.load_template(tokenizer))
    encoded = encoder.encode([Example(messages=talk(row)) for row in ROWS])
    columns = [{name: e.columns[name] for name in ("input_ids", "labels")} for (e,) in encoded]
    args = trl.SFTConfig(
        output_dir=str(tmp_path / "trl"), loss_type="dft", use_cpu=True, bf16=False, report_to="none", **settings
    )
    trainer = trl.SFTTrainer(
        model=LlamaForCausalLM.from_pretrained(tiny_model_dir),
        args=args,
        train_dataset=Dataset.from_list(columns),
        processing_class=tokenizer,
    )
    trainer.train()
    theirs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert ours == pytest.approx(theirs, rel=0, abs=1e-5)
    assert abs(ours[2] - ours[0]) > 1e-4


def talk(row):
    return [{"role": "user", "content": row["instruction"]}, {"role": "assistant", "content": row["output"]}]


def test_label_smoothing_changes_the_cross_entropy_and_not_the_weight():
    given = TestLoss().arguments()
    p_N = given["logits_NV"].softmax(-1).gather(-1, given["targets_N"][:, None])[:, 0]
    smoothed_N = F.cross_entropy(given["logits_NV"], given["targets_N"], label_smoothing=0.2, reduction="none")
    made = TestLoss().loss()(**given, label_smoothing=0.2)
    torch.testing.assert_close(made, p_N * smoothed_N, rtol=0, atol=1e-9)


def test_the_switch_brings_it_in():
    assert "loss:dft" in make_plan({"use_dft_loss": True})
    assert "loss:dft" not in make_plan({})


def test_a_stage_that_takes_no_such_loss_is_refused():
    with pytest.raises(ConfigError, match=r"loss:dft \(use_dft_loss: True\) requires stage:sft"):
        make_plan({"use_dft_loss": True, "stage": "pt"})
