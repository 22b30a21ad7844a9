"""The reward model as a sequence classifier of transformers: what servers and other trainers know as a reward model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from ft_plugin_hf.config import HfConfig
from ft_plugin_merge.export import write
from ft_plugin_merge.folder import mark, replacing
from ft_plugin_merge.probe import TOLERANCE
from ft_plugin_peft.config import AdapterConfig
from ft_plugin_peft.merging import merged
from ft_plugin_trainer.modes import evaluating
from ftk import __version__
from ftk.contracts import Artifact, Message
from ftk.markers import hookimpl
from ftk.problems import RunError

from .config import ClassifierConfig
from .plugin import in_the_way
from .value_head import NAME, ValueHead, file_in, head_for, last_values, load_into

if TYPE_CHECKING:
    from ftk.run import Run

SHARD_BYTES = 5 * 10**9
TALKS = (("Name a fruit.", "An apple."), ("What is 2 + 2?", "It is 4, as every child knows."), ("Hello", "Go away!"))
"""What the classifier must score as the reward model does."""


class Classifier:
    @hookimpl
    def ftk_export(
        self, run: Run, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase
    ) -> Artifact | None:
        target = Path(str(run.config[ClassifierConfig].rm_export_dir)).expanduser()
        if found := in_the_way(run.plan):
            raise RunError(*found)
        head = trained_head(run, model)
        offset = head.linear.bias.item()
        if len(run.plan.of_kind("exporter")) > 1:
            model = copy.deepcopy(model)  # merging changes it, and the others want it as it is
        template = run.load_template(tokenizer)
        talks = [[Message(role="user", content=ask), Message(role="assistant", content=say)] for ask, say in TALKS]
        texts = [template.render(talk) for talk in talks]
        right = scores_of(model, tokenizer, texts, head)
        classifier = as_classifier(merged(model) if isinstance(model, PeftModel) else model, head, tokenizer)
        with replacing(target) as folder:
            write(folder, classifier, tokenizer, template=template.jinja, shard_bytes=SHARD_BYTES)
            made = AutoModelForSequenceClassification.from_pretrained(folder).to(classifier.device)
            gap = largest_gap(right - offset, scores_of(made, tokenizer, texts), made.dtype)
            mark(folder, {"ftk": __version__, "model": run.config[HfConfig].model_name_or_path, "scores_gap": gap})
        summary = f"{type(classifier).__name__}; scores of {len(texts)} texts differ by up to {gap:.2g}"
        if offset:
            summary += f", and are lower by the bias {offset:.3g}, for which a classifier has no place"
        return Artifact(kind="reward-model", path=target, summary=summary)


def trained_head(run: Run, model: PreTrainedModel) -> ValueHead:
    """The value head that this run has trained, or that is beside the model or the adapter that was loaded."""
    if (own := getattr(model, NAME, None)) is not None:
        return own
    adapters = run.config[AdapterConfig].adapter_name_or_path or []
    own_result = [str(run.output_dir)] if run.config.was_set("output_dir") else []
    names = [*adapters[::-1], *own_result, str(run.config[HfConfig].model_name_or_path)]
    path = next((path for name in names if (path := file_in(run, name))), None)
    if path is None:
        raise RunError(f"no value head beside {', '.join(names)}", "train it with stage: rm, or correct output_dir")
    head = head_for(model)
    load_into(head, path)
    return head


def as_classifier(model: PreTrainedModel, head: ValueHead, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The same layers, held once, with the head's weights as those of the one label.

    Raises RunError where transformers has no such class.
    """
    config = copy.deepcopy(model.config)
    config.num_labels = 1
    config.get_text_config().pad_token_id = tokenizer.pad_token_id
    try:
        with torch.device("meta"):  # its weights are there already
            classifier = AutoModelForSequenceClassification.from_config(config, dtype=model.dtype)
    except ValueError:
        message = f"transformers has no sequence classifier for models of type {config.model_type!r}"
        raise RunError(message, "unset rm_export_dir; ftk itself reads the value head") from None
    score = getattr(classifier, "score", None)
    if not isinstance(score, nn.Linear) or score.bias is not None:
        raise RunError(f"{type(classifier).__name__} has no linear score of hidden states", "unset rm_export_dir")
    setattr(classifier, classifier.base_model_prefix, getattr(model, model.base_model_prefix))
    score.weight = nn.Parameter(head.linear.weight.detach().to(model.device, model.dtype))
    return classifier


@torch.no_grad()
def scores_of(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    head: ValueHead | None = None,
) -> torch.Tensor:
    """Scores of rendered texts, padded to one batch, by the value head or by a classifier."""
    rows = tokenizer(texts, add_special_tokens=False, return_tensors="pt", padding=True, padding_side="right")
    inputs = {name: rows[name].to(model.device) for name in ("input_ids", "attention_mask")}
    with evaluating(model):
        values = model(**inputs).logits[:, 0] if head is None else last_values(model, head, inputs)
    return values.double().cpu()


def largest_gap(right: torch.Tensor, made: torch.Tensor, dtype: torch.dtype) -> float:
    """RunError where the scores differ by more than rounding in ``dtype`` explains."""
    gap = (right - made).abs().max().item()
    if not gap <= TOLERANCE[dtype] * (1 + right.abs().max().item()):
        message = f"the classifier scores texts by up to {gap:.3g} otherwise than the reward model"
        raise RunError(message, "does the tokenizer pad with a token that ends a text?")
    return gap
