"""Distillation: offline from a teacher's predictions, and on the student's own answers (GKD, arXiv:2306.13649)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from datasets import Dataset

from ft_plugin_data.config import DataConfig
from ft_plugin_data.truncation import Fitting
from ft_plugin_rollouts.rollouts import EVERY_TOKEN, Rollouts
from ft_plugin_sft.stage import SftEncoder
from ft_plugin_trainer.config import TrainerConfig
from ft_plugin_trainer.predictions import PredictionLoss
from ft_plugin_trainer.targets import IGNORE
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Template
from ftk.markers import hookimpl
from ftk.problems import RunError

from .cache import Kept, opened, write
from .collate import ROW, RowCollator
from .config import DistillConfig
from .objective import Distillation, OwnAnswers
from .teacher import load_teacher, top_predictions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ft_plugin_reference_model.reference import SeparateModel
    from ftk.contracts import Parts, Role
    from ftk.run import Run

OWN_ANSWERS = EVERY_TOKEN | {"max_new_tokens": 256}
"""How the student's answers are drawn where the user does not say otherwise."""


class Distill:
    @hookimpl(optionalhook=True)  # a plan without ft-plugin-hf has no such hook
    def ftk_model_name(self, run: Run, role: Role) -> str | None:
        return run.config[DistillConfig].teacher_model if role == "teacher" else None

    @hookimpl
    def ftk_encoder(self, run: Run, tokenizer: PreTrainedTokenizerBase, template: Template) -> SftEncoder:
        encoder = SftEncoder(tokenizer, Fitting.configured(run.config[DataConfig], template), stage="distill")
        encoder.collate = RowCollator(encoder.collate)
        return encoder

    @hookimpl(wrapper=True)
    def ftk_load_dataset(self, run: Run) -> Any:
        rows = yield
        if isinstance(rows, Mapping):
            raise RunError("stage: distill evaluates on one data set", "unset eval_on_each_dataset")
        return rows if rows is None else numbered(rows)

    @hookimpl
    def ftk_build_trainer(self, run: Run, parts: Parts) -> FtkTrainer:
        """``ftk_loss`` may give a ``PredictionLoss``, whose reference is the teacher."""
        config, loss = run.config[DistillConfig], run.loss()
        if loss is not None and (config.distill_top_k or not isinstance(loss, PredictionLoss)):
            name = run.plan.of_kind("loss")[0].id
            raise RunError(f"{name} does not compare two predictions in full", "unset it, or distill_top_k")
        teacher: Any = load_teacher(run, parts.model)
        vocabulary = min(size_of(parts.model), size_of(teacher.model))
        if config.distill_top_k is not None:
            teacher = kept_predictions(run, parts, teacher, vocabulary)
        objective = Distillation(
            teacher,
            beta=config.distill_beta,
            temperature=config.distill_temperature,
            vocabulary=vocabulary,
            loss=loss,
        )
        if config.distill_on_policy:
            rollouts = Rollouts(run, parts.tokenizer, parts.template, unset=OWN_ANSWERS)
            share = config.distill_on_policy
            objective.answers = OwnAnswers(rollouts, parts.encoder.collate, share=share, seed=run.seed)  # type: ignore[arg-type]
        return FtkTrainer(run, parts, objective)


def size_of(model: Any) -> int:
    return model.get_output_embeddings().weight.shape[0]


def numbered(rows: Any) -> Any:
    """Rows with their number; of a stream, as they come."""
    if isinstance(rows, Dataset):
        return rows.add_column(ROW, list(range(len(rows))))
    return rows.map(lambda row, number: {ROW: number}, with_indices=True)


def kept_predictions(
    run: Run, parts: Parts, teacher: SeparateModel, vocabulary: int
) -> tuple[Kept | None, Kept | None]:
    """What the teacher says of the rows to train on and to evaluate on, from disk or made now."""
    config = run.config[DistillConfig]
    folder = Path(config.distill_cache or run.output_dir / "teacher").expanduser()
    kept: list[Kept | None] = []
    for name, rows in (("train", parts.train_dataset), ("eval", parts.eval_dataset)):
        if rows is None:
            kept.append(None)
            continue
        assert isinstance(rows, Dataset)
        k = min(config.distill_top_k or vocabulary, vocabulary)
        identity = {
            "teacher": [config.teacher_model, *weights_of(run)],
            "rows": contents(rows),
            "temperature": config.distill_temperature,
            "k": k,
        }
        with PartialState().main_process_first():
            if (found := opened(folder / name, identity)) is None:
                run.logger.info("asking the teacher about %d rows (%s)", len(rows), name)
                targets = [sum(label != IGNORE for label in labels[1:]) for labels in rows["labels"]]
                made = top_predictions(
                    teacher,
                    parts.model,
                    batches_of(run, parts, rows),
                    k=k,
                    temperature=config.distill_temperature,
                    vocabulary=vocabulary,
                )
                write(folder / name, identity, targets, k, made)
                found = opened(folder / name, identity)
            else:
                run.logger.info("what the teacher says of %s was kept in %s", name, folder / name)
        kept.append(found)
    return kept[0], kept[1]


def weights_of(run: Run) -> list[list[Any]]:
    """Name, size and time of the files of a teacher in a folder, which may be another one by the same name later."""
    folder = Path(run.locate_model(str(run.config[DistillConfig].teacher_model)).path)
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in sorted(folder.glob("*.safetensors"))]


def batches_of(run: Run, parts: Parts, rows: Dataset) -> Iterator[dict[str, torch.Tensor]]:
    size = run.config[TrainerConfig].per_device_train_batch_size
    for start in range(0, len(rows), size):
        yield parts.encoder.collate(list(rows.select(range(start, min(start + size, len(rows))))))


def contents(rows: Dataset) -> str:
    """A hash of what the teacher is asked."""
    digest = hashlib.sha256()
    for row in rows.select_columns(["input_ids", "labels"]):
        digest.update(repr((row["input_ids"], row["labels"])).encode())
    return digest.hexdigest()
