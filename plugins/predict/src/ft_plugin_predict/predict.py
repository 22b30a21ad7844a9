"""Answers to the evaluation data: scored with each evaluation, and written down when ``do_predict`` asks for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from torch import nn

from ft_plugin_trainer.encoding import last_answer
from ft_plugin_trainer.files import replace_text
from ft_plugin_trainer.objective import NextToken
from ft_plugin_trainer.processes import rank_of_all
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Artifact
from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk.settings import RunConfig

from .answers import Answers
from .config import PredictConfig
from .scores import scores

if TYPE_CHECKING:
    from ft_plugin_trainer.objective import Batch, Sums
    from ftk.contracts import Parts
    from ftk.run import Run

FILE = "generated_predictions"
Prediction = dict[str, str]
"""``prompt``, ``predict`` and ``label``."""


class Predict:
    def __init__(self) -> None:
        self.trainer: FtkTrainer | None = None
        self.measure: Measure | None = None

    @hookimpl(wrapper=True)
    def ftk_build_trainer(self, run: Run, parts: Parts) -> Any:
        trainer = yield
        if not isinstance(trainer, FtkTrainer) or not isinstance(trainer.objective, NextToken):
            stage = run.plan.of_kind("stage")[0].name
            raise RunError(f"stage: {stage} has no rows with an answer to predict", "unset predict_with_generate")
        self.trainer, self.measure = trainer, Measure(Answers(run, parts.tokenizer, parts.template))
        if run.config[PredictConfig].predict_with_generate:
            trainer.measures.append(self.measure)
        return trainer

    @hookimpl
    def ftk_export(self, run: Run) -> Artifact | None:
        """Generate and write, once everything is trained."""
        if not run.config[RunConfig].do_predict:
            return None
        trainer, measure = self.trainer, self.measure
        assert trainer is not None and measure is not None
        if trainer.eval_dataset is None:
            raise RunError("do_predict is set, but there is no evaluation data", "set eval_dataset, or val_size: 0.1")
        if measure not in trainer.measures:
            trainer.measures.append(measure)
        several = isinstance(trainer.eval_dataset, Mapping)
        parts = trainer.eval_dataset if several else {"": trainer.eval_dataset}
        metrics: dict[str, float] = {}
        rows = 0
        for name, part in parts.items():
            prefix = f"predict_{name}" if name else "predict"
            measure.begin()
            loader = trainer.get_eval_dataloader(part)
            metrics |= trainer.evaluation_loop(loader, "Prediction", metric_key_prefix=prefix).metrics
            made = in_order(gather_object([measure.batches]))
            rows += len(made)
            file = run.output_dir / f"{FILE}{'_' + re.sub(r'[^A-Za-z0-9.-]+', '_', name) if name else ''}.jsonl"
            if trainer.is_world_process_zero():
                replace_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made))
        trainer.log_metrics("predict", metrics)
        trainer.save_metrics("predict", metrics)
        return Artifact(kind="predictions", path=file, summary=f"{rows} answers to the evaluation data, with scores")


class Measure:
    """Scores of answers to the rows of a batch, from 0 to 100; keeps the answers."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.begin()

    def begin(self) -> None:
        """Forget the answers."""
        self.batches: list[list[Prediction]] = []

    def __call__(self, model: nn.Module, batch: Batch, counts: bool) -> Sums:
        pairs = [last_answer(*row) for row in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)]
        part = (len(self.batches), rank_of_all()[0])
        texts = self.answers.generate(model, [prompt for prompt, _ in pairs], part=part)
        made = [
            {
                "prompt": self.answers.tokenizer.decode(prompt, skip_special_tokens=False),
                "predict": text.strip(),
                "label": self.answers.decode(label).strip(),
            }
            for (prompt, label), text in zip(pairs, texts, strict=True)
        ]
        self.batches.append(made if counts else [])
        found = [scores(row["predict"], row["label"]) for row in made]
        device = batch["labels"].device
        n = torch.tensor(len(found), device=device)
        return {name: (torch.tensor(100 * sum(row[name] for row in found), device=device), n) for name in found[0]}


def in_order(processes: list[list[list[Prediction]]]) -> list[Prediction]:
    """Batches of processes, which took turns, as one list of rows."""
    turns = zip_longest(*processes, fillvalue=[])
    return list(chain.from_iterable(chain.from_iterable(turns)))
