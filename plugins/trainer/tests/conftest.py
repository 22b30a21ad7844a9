"""A trainer of a tiny model on random rows, without data or template plugins."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset

from ft_plugin_trainer.encoding import NextTokenCollator
from ft_plugin_trainer.objective import NextToken, Objective
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Parts
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer

QUIET = {"disable_tqdm": True, "save_strategy": "no", "logging_steps": 1}


@dataclass
class Workbench:
    """Makes trainers that write below ``folder``."""

    folder: Path

    @staticmethod
    def rows(n: int, *, seed: int = 0, vocabulary: int = 400) -> list[dict[str, list[int]]]:
        """Rows of different lengths; the first third of each carries no loss."""
        g = torch.Generator().manual_seed(seed)
        rows = []
        for _ in range(n):
            length = int(torch.randint(4, 24, (), generator=g))
            ids = torch.randint(4, vocabulary, (length,), generator=g).tolist()
            masked = max(1, length // 3)
            rows.append({"input_ids": ids, "labels": [-100] * masked + ids[masked:]})
        return rows

    def run(self, **keys):
        keys = {"output_dir": str(self.folder / "out"), **QUIET, **keys}
        return make_run(keys, components=["trainer:transformers", *keys.pop("components", [])])

    def trainer(
        self, *, rows=None, eval_rows=None, model=None, objective: Objective | None = None, **keys
    ) -> FtkTrainer:
        run = self.run(**keys)
        tokenizer = tiny_tokenizer()
        args = run.training_args()
        as_dataset = lambda rows: Dataset.from_list(rows) if isinstance(rows, list) else rows
        parts = Parts(
            model=model or tiny_llama(dtype=torch.float64),
            tokenizer=tokenizer,
            template=None,
            encoder=SimpleNamespace(collate=NextTokenCollator(tokenizer.pad_token_id)),
            train_dataset=as_dataset(self.rows(48) if rows is None else rows),
            eval_dataset=as_dataset(eval_rows),
            args=args,
            callbacks=run.callbacks(),
        )
        return FtkTrainer(run, parts, objective or NextToken())


@pytest.fixture
def bench(tmp_path) -> Workbench:
    return Workbench(tmp_path)
