"""Three steps beside those of TRL's trainer, from the same weights on the same pairs."""

import json

import datasets
import pytest
import torch
import trl

from ftk.execute import start
from ftk_sdk.evidence import checked
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer

PAIRS = (("zero", "I will not"), ("one and nothing else", "no"), ("two", "I say what I say"), ("three of them", "four"))
STEPS, RATE = 3, 1e-3


def says(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


class Recording(trl.DPOTrainer):
    """Keeps the loss of each step unrounded."""

    def __init__(self, **kwargs) -> None:
        self.losses = []
        super().__init__(**kwargs)

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of a policy and of another model for a reference, and the rows for both sides."""
    folder = tmp_path_factory.mktemp("models")
    for name, seed in (("policy", 3), ("other", 4)):
        tiny_llama(dtype=torch.float64, seed=seed).save_pretrained(folder / name)
        tiny_tokenizer().save_pretrained(folder / name)
    rows = [{"instruction": f"say {n}", "chosen": word, "rejected": no} for n, (word, no) in enumerate(PAIRS)]
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


def of_trl(folder, *, row_by_row: bool, **options) -> list[float]:
    rows = [
        {"prompt": [says("user", f"say {n}")], "chosen": [says("assistant", word)], "rejected": [says("assistant", no)]}
        for n, (word, no) in enumerate(PAIRS)
    ]
    args = trl.DPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=1 if row_by_row else len(PAIRS),
        gradient_accumulation_steps=len(PAIRS) if row_by_row else 1,
        max_steps=STEPS,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **options,
    )
    trainer = Recording(
        model=tiny_llama(dtype=torch.float64, seed=3),
        ref_model=tiny_llama(dtype=torch.float64, seed=4),
        args=args,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    micro = torch.tensor(trainer.losses).view(STEPS, -1)
    return micro.sum(1).tolist()


def of_ftk(folder, out, **keys) -> list[float]:
    run = make_run(
        {
            "stage": "dpo",
            "finetuning_type": "full",
            "model_name_or_path": str(folder / "policy"),
            "model_dtype": "float64",
            "ref_model": str(folder / "other"),
            "template": "chatml",
            "dataset": str(folder / "rows.json"),
            "output_dir": str(out),
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "max_steps": STEPS,
            "learning_rate": RATE,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
            "save_strategy": "no",
            **keys,
        }
    )
    start(run)
    return [json.loads(line)["loss"] for line in (out / "trainer_log.jsonl").read_text().splitlines()]


def require_same(models, out, options, keys, *, row_by_row: bool = False) -> None:
    theirs = of_trl(models, row_by_row=row_by_row, **options)
    ours = of_ftk(models, out, **keys)
    assert len(ours) == STEPS
    # TRL makes log-probabilities in float32.
    assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-5)


SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")


@checked(
    stage="dpo",
    loss=[
        "sigmoid",
        "hinge",
        "ipo",
        "exo_pair",
        "nca_pair",
        "robust",
        "bco_pair",
        "sppo_hard",
        "aot",
        "aot_unpaired",
        "apo_zero",
        "apo_down",
        "discopop",
        "sigmoid_norm",
    ],
    against="TRL 1.16 DPOTrainer with another model as reference, 3 steps, losses to 1e-5",
)
@pytest.mark.parametrize(
    "loss",
    [
        "sigmoid",
        "hinge",
        "ipo",
        "exo_pair",
        "nca_pair",
        "robust",
        "bco_pair",
        "sppo_hard",
        "aot",
        "aot_unpaired",
        "apo_zero",
        "apo_down",
        "discopop",
        "sigmoid_norm",
    ],
)
def test_three_steps_have_the_losses_of_trl(models, tmp_path, loss):
    eps = 0.1 if loss in SMOOTHED else 0.0
    options = {"loss_type": [loss], "label_smoothing": eps}
    require_same(models, tmp_path, options, {"pref_loss": loss, "dpo_label_smoothing": eps})


@checked(
    stage="dpo",
    loss=["sft", "weighted sum"],
    against="TRL 1.16 DPOTrainer in micro-batches of one pair, 3 steps, losses to 1e-5",
)
def test_so_has_a_weighted_sum_where_trls_token_means_are_those_of_one_pair(models, tmp_path):
    # TRL's 'sft' is a mean over all tokens of a micro-batch, so that it depends on how a batch is cut.
    weights = [0.7, 0.2, 1.5]
    options = {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": weights}
    keys = {"pref_loss": "sigmoid,bco_pair,sft", "pref_loss_weights": weights}
    require_same(models, tmp_path, options, keys, row_by_row=True)


@checked(
    stage="dpo",
    loss="ld_alpha",
    against="TRL 1.16 DPOTrainer, 3 steps, losses to 1e-5",
)
def test_tokens_beyond_the_shorter_answer_count_as_in_trl(models, tmp_path):
    require_same(models, tmp_path, {"ld_alpha": 0.4}, {"ld_alpha": 0.4})
