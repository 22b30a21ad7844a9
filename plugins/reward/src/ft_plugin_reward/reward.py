"""The add-on: a reward model as a reward."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig

from ft_plugin_hf.config import HfConfig
from ft_plugin_hf.folder import holds_tokenizer
from ft_plugin_hf.vocabulary import choose_pad_token
from ft_plugin_peft.adapters import load_adapter
from ft_plugin_peft.merging import merged
from ft_plugin_rm.value_head import file_in, head_for, load_into
from ft_plugin_templates.load import TokenizerTemplate
from ftk.markers import hookimpl
from ftk.problems import RunError

from .config import RewardConfig
from .plugin import kind_of
from .scoring import ModelScores
from .server import ServerScores

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ft_plugin_rewards.specs import Reward
    from ftk.contracts import Role, Template
    from ftk.run import Run

NAME = "reward_model"
"""Of the reward, in logs."""


class RewardModel:
    @hookimpl(optionalhook=True)  # a plan without ft-plugin-hf has no such hook
    def ftk_model_name(self, run: Run, role: Role) -> str | None:
        config = run.config[RewardConfig]
        return config.reward_model if role == "reward" and kind_of(config) == "full" else None

    @hookimpl
    def ftk_model_kwargs(self, run: Run, role: Role) -> dict[str, Any]:
        bits = run.config[RewardConfig].reward_model_quantization_bit
        if role != "reward" or bits is None:
            return {}
        return {"quantization_config": BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)}

    @hookimpl
    def ftk_rewards(self, run: Run) -> dict[str, Reward]:
        config = run.config[RewardConfig]
        if kind_of(config) == "api":
            template = run.load_template(run.load_tokenizer())
            return {NAME: ServerScores(str(config.reward_model), template, config)}
        return {NAME: model_scores(run, config)}


def model_scores(run: Run, config: RewardConfig) -> ModelScores:
    """The reward model, with the tokenizer and the template that it was trained with."""
    name = str(config.reward_model)
    tokenizer = tokenizer_of(run, name)
    template = template_of(run, tokenizer)
    if kind_of(config) == "full" and is_classifier(run, name):
        model = classifier(run, name, tokenizer)
        run.logger.info("reward model: the classifier %s", name)
        return ModelScores(model, None, tokenizer, template, batch=config.reward_batch_size)
    model = run.load_model("reward")
    adapters = [*([name] if kind_of(config) == "lora" else []), *(config.reward_model_adapters or ())]
    model = with_adapters(run, model, adapters)
    head = head_for(model)
    load_into(head, value_head_file(run, [*adapters[::-1], name]))
    run.logger.info("reward model: %s with its value head", name)
    return ModelScores(model, head, tokenizer, template, batch=config.reward_batch_size)


def with_adapters(run: Run, model: PreTrainedModel, names: list[str]) -> PreTrainedModel:
    for name in names[:-1]:
        model = merged(load_adapter(run, model, name))
    return load_adapter(run, model, names[-1]) if names else model


def value_head_file(run: Run, names: list[str]) -> Path:
    for name in names:
        if path := file_in(run, name):
            return path
    message = f"reward_model: {names[-1]!r} has no value head, and is no sequence classifier"
    raise RunError(message, "train it with stage: rm, or name another model")


def is_classifier(run: Run, name: str) -> bool:
    location = run.locate_model(name)
    options = {"trust_remote_code": run.config[HfConfig].trust_remote_code, "token": run.config[HfConfig].hf_hub_token}
    try:
        config = AutoConfig.from_pretrained(location.path, revision=location.revision, **options)
    except (OSError, ValueError) as e:
        raise RunError(f"reward_model: cannot read {name!r}: {str(e).splitlines()[0]}", "correct the path") from e
    return any("ForSequenceClassification" in architecture for architecture in config.architectures or ())


def classifier(run: Run, name: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A sequence classifier with one label. Raises RunError for one with several."""
    kwargs = run.merged("ftk_model_kwargs", into="from_pretrained", run=run, role="reward")
    location = run.locate_model(name)
    model = AutoModelForSequenceClassification.from_pretrained(location.path, revision=location.revision, **kwargs)
    if (labels := model.config.num_labels) != 1:
        raise RunError(f"reward_model: {name!r} tells {labels} classes apart, where a score is one number")
    # It finds the end of a text by what is not padding.
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    for adapter in run.config[RewardConfig].reward_model_adapters or ():
        model = merged(load_adapter(run, model, adapter))
    return model


def tokenizer_of(run: Run, name: str) -> PreTrainedTokenizerBase:
    """The reward model's own, or the policy's where it brings none."""
    location = run.locate_model(name)
    folder = Path(location.path).expanduser()
    if folder.is_dir() and not holds_tokenizer(folder):
        return run.load_tokenizer()
    tokenizer = AutoTokenizer.from_pretrained(location.path, revision=location.revision)
    choose_pad_token(tokenizer)
    return tokenizer


def template_of(run: Run, tokenizer: PreTrainedTokenizerBase) -> Template:
    """The prompt format that the tokenizer was saved with, or the run's."""
    if tokenizer.chat_template:
        return TokenizerTemplate().ftk_load_template(run, tokenizer)
    return run.load_template(tokenizer)
