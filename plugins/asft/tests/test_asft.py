import json

import pytest
import torch

from ft_plugin_asft import plugin
from ftk.execute import start
from ftk.problems import ConfigError
from ftk_sdk.contracts import LossContract, PluginContract
from ftk_sdk.evidence import checked
from ftk_sdk.testing import make_plan, make_run


class TestPlugin(PluginContract):
    plugin = plugin


class TestLoss(LossContract):
    component = "loss:asft"
    keys = {"use_asft_loss": True, "asft_alpha": 0.3}
    beside = ("stage:sft", "trainer:transformers", "loader:hf")

    def arguments(self):
        g = torch.Generator().manual_seed(0)
        logits, reference = torch.randn(2, 13, 29, generator=g, dtype=torch.float64).mul(3)
        targets = torch.randint(29, (13,), generator=g)
        return {"logits_NV": logits.requires_grad_(), "targets_N": targets, "reference_NV": reference}

    def reference(self, logits_NV, targets_N, reference_NV):
        losses = []
        for p, q, y in zip(logits_NV.softmax(-1), reference_NV.softmax(-1), targets_N, strict=True):
            losses.append(-p[y].detach() * p[y].log() + 0.3 * sum(q[v] * (q[v] / p[v]).log() for v in range(29)))
        return torch.stack(losses)

    @checked(stage="sft", loss="asft", against="float64 reference of LLaMA-Factory's definition, value and gradient")
    def test_its_gradient_is_that_of_its_reference(self):
        super().test_its_gradient_is_that_of_its_reference()


ROWS = [{"instruction": f"say {n}", "output": f"the answer is {'lazy ' * (n % 5)}{n}"} for n in range(8)]


def losses(model_dir, folder, **keys):
    folder.mkdir()
    (folder / "rows.json").write_text(json.dumps(ROWS))
    run = {
        "model_name_or_path": str(model_dir),
        "template": "chatml",
        "dataset": str(folder / "rows.json"),
        "output_dir": str(folder / "out"),
        "use_asft_loss": True,
        "asft_alpha": 5.0,
        "per_device_train_batch_size": 8,
        "max_steps": 3,
        "logging_steps": 1,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "save_strategy": "no",
    }
    start(make_run(run | keys))
    return [json.loads(line)["loss"] for line in (folder / "out" / "trainer_log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["lora", "full", "freeze"])
def test_a_run_is_anchored_and_does_not_depend_on_how_its_batches_are_cut(tiny_model_dir, tmp_path, kind):
    keys = {"finetuning_type": kind, "model_dtype": "float64"}
    anchored = losses(tiny_model_dir, tmp_path / "anchored", **keys)
    cut = losses(tiny_model_dir, tmp_path / "cut", per_device_train_batch_size=2, gradient_accumulation_steps=4, **keys)
    loose = losses(tiny_model_dir, tmp_path / "loose", asft_alpha=0.0, **keys)
    assert cut == pytest.approx(anchored, rel=0, abs=1e-9)
    assert anchored[0] == pytest.approx(loose[0], abs=1e-9)  # where they start there is no divergence yet
    assert anchored[1] > loose[1] + 1e-6


def test_a_negative_weight_is_an_error():
    with pytest.raises(ConfigError, match=r"asft_alpha=-0.1 is negative"):
        make_plan({"use_asft_loss": True, "asft_alpha": -0.1})
