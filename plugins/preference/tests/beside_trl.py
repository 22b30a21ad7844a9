"""Three steps beside those of TRL's trainers, from the same weights on the same pairs."""

import json
from pathlib import Path

import datasets
import torch

from ftk.execute import start
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer, write_tiny_model

PAIRS = (("zero", "I will not"), ("one and nothing else", "no"), ("two", "I say what I say"), ("three of them", "four"))
STEPS = 3
RATE = 1e-3


def prepared(folder: Path) -> Path:
    """The folder, with the model that both start from, and the pairs as ftk reads them."""
    write_tiny_model(folder / "model", dtype=torch.float64, seed=3)
    rows = [{"instruction": f"say {n}", "chosen": word, "rejected": no} for n, (word, no) in enumerate(PAIRS)]
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


def says(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def ending_in_lines():
    """For trainers that add the end that they know of to answers that end in something else, as those of chatml do."""
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(tokenizer("\n")["input_ids"])[0]
    return tokenizer


def of_trl(
    folder: Path, trainer: type, config: type, *, more: dict | None = None, row_by_row: bool = True, **options
) -> tuple[list[float], list[dict]]:
    """Losses of the steps, unrounded, and the log. ``more``: further arguments of the trainer.

    In micro-batches of one pair if ``row_by_row``: TRL's supervised parts are means over the tokens of a micro-batch,
    and so depend on how a batch is cut.
    """
    losses: list[float] = []

    class Recording(trainer):
        def training_step(self, *args, **kwargs):
            loss = super().training_step(*args, **kwargs)
            losses.append(loss.item())
            return loss

    rows = [
        {"prompt": says("user", f"say {n}"), "chosen": says("assistant", word), "rejected": says("assistant", no)}
        for n, (word, no) in enumerate(PAIRS)
    ]
    args = config(
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
        logging_steps=1,
        **options,
    )
    made = Recording(
        model=tiny_llama(dtype=torch.float64, seed=3),
        args=args,
        train_dataset=datasets.Dataset.from_list(rows),
        **{"processing_class": ending_in_lines(), **(more or {})},
    )
    made.train()
    return torch.tensor(losses).view(STEPS, -1).sum(1).tolist(), made.state.log_history


def of_ftk(folder: Path, out: Path, **keys) -> list[dict]:
    """The log of the steps of ``stage``, on all pairs at once unless the keys cut the batch."""
    settled = {
        "finetuning_type": "full",
        "model_name_or_path": str(folder / "model"),
        "model_dtype": "float64",
        "template": "chatml",
        "dataset": str(folder / "rows.json"),
        "output_dir": str(out),
        "per_device_train_batch_size": len(PAIRS),
        "max_steps": STEPS,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
    }
    start(make_run({**settled, **keys}))
    return [json.loads(line) for line in (out / "trainer_log.jsonl").read_text().splitlines()]
