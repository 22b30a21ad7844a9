"""Models and tokenizers through transformers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from ft_plugin_trainer.config import TrainerConfig
from ftk.contracts import ModelLocation, Role
from ftk.markers import hookimpl
from ftk.problems import RunError

from . import folder, precision, vocabulary
from .config import HfConfig
from .failures import explained, quiet
from .gguf import dequantized

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from ftk.run import Run

# Where bitsandbytes is installed, importing peft makes it say that a kernel which no run here uses is absent.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


class HfLoader:
    """Remembers between its hooks where the model is, and which tokens are new to it."""

    def __init__(self) -> None:
        self._locations: dict[tuple[str | None, bool], ModelLocation] = {}
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._new_tokens: dict[str, str] = {}

    @hookimpl
    def ftk_load_tokenizer(self, run: Run) -> PreTrainedTokenizerBase:
        cfg = run.config[HfConfig]
        location = self._locate(run, trained=True)
        if not (location.gguf_file or _has_tokenizer(location)):
            location = self._locate(run, trained=False)
        options = _options(cfg, location) | ({"split_special_tokens": True} if cfg.split_special_tokens else {})
        with explained(location, "tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(location.path, **options)
        if cfg.model_max_length is not None:
            tokenizer.model_max_length = cfg.model_max_length
        if token := vocabulary.choose_pad_token(tokenizer):
            run.logger.info("the tokenizer has no pad token and none to spare; padding with %r, masked", token)
        self._new_tokens = vocabulary.add_tokens(tokenizer, cfg)
        self._tokenizer = tokenizer
        return tokenizer

    @hookimpl
    def ftk_training_args(self, run: Run) -> dict[str, Any]:
        if not _checkpoints(run):
            return {}
        args: dict[str, Any] = {"activation_checkpointing": True}
        if run.config[HfConfig].use_reentrant_gc:
            args["activation_checkpointing_kwargs"] = {"use_reentrant": True}
        return args

    @hookimpl
    def ftk_model_kwargs(self, run: Run) -> dict[str, Any]:
        cfg = run.config[HfConfig]
        kwargs: dict[str, Any] = {"dtype": precision.weight_dtype(run)}
        if cfg.device_map is not None:
            kwargs |= {"device_map": cfg.device_map, "offload_folder": cfg.offload_folder}
        elif run.plan.action == "chat" and torch.accelerator.is_available():
            kwargs["device_map"] = {"": str(torch.accelerator.current_accelerator())}
        return kwargs

    @hookimpl
    def ftk_load_model(self, run: Run, kwargs: Mapping[str, Any], role: Role) -> PreTrainedModel:
        cfg = run.config[HfConfig]
        name = model_name(run, role)
        location = self._locate(run, trained=role == "policy", name=name)
        with explained(location, "configuration"):
            config = AutoConfig.from_pretrained(location.path, **_options(cfg, location))
        if cfg.moe_aux_loss_coef is not None:
            _balance_experts(config, cfg.moe_aux_loss_coef)
        kwargs = {**kwargs, "dtype": _settled_dtype(run, kwargs.get("dtype", "auto"), config)}
        scratch = _from_scratch(run) and name is None
        model = (_random_model if scratch else _checkpoint_model)(run, location, config, kwargs)
        if not (role == "reward" and name):  # which reads text by a tokenizer of its own
            self._fit_embeddings(run, model)
        dtype = str(model.dtype).removeprefix("torch.")
        run.logger.info("%s model: %s in %s from %s", role, type(model).__name__, dtype, location.path)
        return _prepared(run, model, role)

    @hookimpl(wrapper=True)
    def ftk_adapt_model(self, run: Run):
        model = yield
        if run.config[HfConfig].print_param_status:
            for name, p in model.named_parameters():
                trains = "trains" if p.requires_grad else "frozen"
                run.logger.info("%s: %s %s on %s, %s", name, list(p.shape), p.dtype, p.device, trains)
        return model

    def _locate(self, run: Run, *, trained: bool, name: str | None = None) -> ModelLocation:
        """Where the run's model is, or that of another name. ``trained``: where training left it, if there it is."""
        if (name, trained) not in self._locations:
            location = (trained and _left_by_training(run)) or _named(run, name)
            weights = name is not None or not _from_scratch(run)
            _require_loadable(location, weights=weights, allow_pickle=run.config[HfConfig].allow_pickle)
            self._locations[name, trained] = location
        return self._locations[name, trained]

    def _fit_embeddings(self, run: Run, model: PreTrainedModel) -> None:
        cfg = run.config[HfConfig]
        tokenizer = self._tokenizer or run.load_tokenizer()
        had, needed = model.get_input_embeddings().weight.shape[0], vocabulary.tokens_of(tokenizer)
        if needed > had and not (self._new_tokens or cfg.resize_vocab):
            message = f"the tokenizer has {needed} tokens, and the model embeddings for {had}"
            raise RunError(message, "use the tokenizer that belongs to the model, or set resize_vocab: true")
        if self._new_tokens or needed > had:
            new, init = self._new_tokens, cfg.init_special_tokens
            added = vocabulary.fit_embeddings(model, tokenizer, new, init=init, seed=run.seed)
            run.logger.info("%d new tokens; the embeddings grew by %d rows", len(new), added)


def model_name(run: Run, role: Role) -> str | None:
    """The name of the model for a role; ``None``: the run's own. Raises RunError where two components name one."""
    names = [] if role == "policy" else run.collect("ftk_model_name", run=run, role=role)
    if len(set(names)) > 1:
        message = f"the {role} model is named twice: {names[0]!r} and {names[1]!r}"
        raise RunError(message, "unset one of the keys that name it")
    return names[0] if names else None


def _named(run: Run, other: str | None) -> ModelLocation:
    """Where the model of this name is, or that of ``model_name_or_path``."""
    cfg = run.config[HfConfig]
    name = other or cfg.model_name_or_path
    if not name:
        raise RunError("model_name_or_path is not set", "a folder, the id of a model on a hub, or pypi:NAME")
    location = run.locate_model(name)
    path = Path(location.path).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return ModelLocation(path=str(path.parent), gguf_file=path.name)
    if path.is_dir():
        return ModelLocation(path=str(path), gguf_file=location.gguf_file)
    if folder.is_path(location.path):
        key = "" if other else "model_name_or_path: "
        raise RunError(f"{key}there is no folder {location.path!r}", "correct the path")
    run.logger.info("looking for %s on the hub", location.path)
    asked = cfg.model_revision if other is None and run.config.was_set("model_revision") else None
    return ModelLocation(path=location.path, gguf_file=location.gguf_file, revision=location.revision or asked)


def _left_by_training(run: Run) -> ModelLocation | None:
    """The whole model that an earlier run of this config trained, for what comes after training."""
    if run.plan.action == "train" or not run.config.was_set("output_dir"):
        return None
    if folder.holds_model(run.output_dir):
        run.logger.info("using the model that training left in output_dir %r", str(run.output_dir))
        return ModelLocation(path=str(run.output_dir))
    if "adapter:full" in run.plan or "adapter:freeze" in run.plan:
        run.logger.warning("output_dir %r holds no trained model: using the untrained one", str(run.output_dir))
    return None


def _has_tokenizer(location: ModelLocation) -> bool:
    path = Path(location.path)
    return not path.is_dir() or folder.holds_tokenizer(path)


def _options(cfg: HfConfig, location: ModelLocation) -> dict[str, Any]:
    """What every from_pretrained is told; only what is known, so that defaults stay those of transformers."""
    known = {
        "gguf_file": location.gguf_file,
        "revision": location.revision,
        "cache_dir": cfg.cache_dir,
        "token": cfg.hf_hub_token,
    }
    return {"trust_remote_code": cfg.trust_remote_code} | {
        key: value for key, value in known.items() if value is not None
    }


def _require_loadable(location: ModelLocation, *, weights: bool, allow_pickle: bool) -> None:
    path = Path(location.path)
    if location.gguf_file or not path.is_dir():
        return
    if fault := folder.fault(path, weights=weights, allow_pickle=allow_pickle):
        raise RunError(f"cannot load the model in {location.path!r}: {fault[0]}", fault[1])


def _settled_dtype(run: Run, dtype: torch.dtype | str, config: PreTrainedConfig) -> torch.dtype | str:
    if run.plan.action == "train" and dtype == "auto" and config.dtype == torch.float16:
        run.logger.info("the checkpoint is float16, where gradients underflow: training it in float32 (model_dtype)")
        return torch.float32
    return dtype


def _checkpoint_model(
    run: Run, location: ModelLocation, config: PreTrainedConfig, kwargs: Mapping[str, Any]
) -> PreTrainedModel:
    cfg = run.config[HfConfig]
    options = {**_options(cfg, location), **kwargs, "config": config, "output_loading_info": True}
    options["ignore_mismatched_sizes"] = True  # or the error does not say which
    if not (cfg.allow_pickle or location.gguf_file):
        options["use_safetensors"] = True
    with explained(location, "model"), quiet():
        model, info = _auto_class(config).from_pretrained(location.path, **options)
    name = type(model).__name__
    unfit = sorted(f"{key} is {list(has)}, not {list(wants)}" for key, has, wants in info["mismatched_keys"])
    for what, keys in (("lacks", sorted(info["missing_keys"])), ("has other sizes for", unfit)):
        if keys:
            message = f"{location.path!r} {what} {len(keys)} of the weights of {name}: {_some(keys)}"
            raise RunError(message, "get the whole model, or the weights that fit its config.json")
    if spare := sorted(info["unexpected_keys"]):
        run.logger.warning("%s has %d weights that %s does not use: %s", location.path, len(spare), name, _some(spare))
    return dequantized(model) if location.gguf_file else model


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")


def _from_scratch(run: Run) -> bool:
    return run.config[HfConfig].train_from_scratch and run.plan.action == "train"


def _random_model(
    run: Run, location: ModelLocation, config: PreTrainedConfig, kwargs: Mapping[str, Any]
) -> PreTrainedModel:
    if others := sorted(kwargs.keys() - {"dtype", "attn_implementation"}):
        raise RunError(f"train_from_scratch cannot be combined with {', '.join(others)}", "unset one of them")
    dtype = kwargs["dtype"] if kwargs["dtype"] != "auto" else config.dtype or torch.float32
    code = run.config[HfConfig].trust_remote_code
    torch.manual_seed(run.seed)
    with explained(location, "architecture"):
        return _auto_class(config).from_config(config, **{**kwargs, "dtype": dtype, "trust_remote_code": code})


def _auto_class(config: PreTrainedConfig) -> type:
    architecture = next(iter(config.architectures or ()), None)
    multimodal = architecture in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.values()
    return AutoModelForImageTextToText if multimodal else AutoModelForCausalLM


def _prepared(run: Run, model: PreTrainedModel, role: Role) -> PreTrainedModel:
    """The model as its role and the action need it."""
    cfg = run.config[HfConfig]
    _repair_generation(model)
    if role == "reference":
        return model.requires_grad_(False)
    if run.plan.action == "train":
        if cfg.upcast_layernorm and not precision.upcast_norms(model):
            raise RunError(f"upcast_layernorm: {type(model).__name__} has no normalisation layers", "unset it")
        if cfg.upcast_lmhead_output:
            precision.upcast_logits(model)
        if _checkpoints(run) and not model.supports_gradient_checkpointing:
            message = f"{type(model).__name__} does not support gradient checkpointing"
            raise RunError(message, "set disable_gradient_checkpointing: true")
    return model


def _repair_generation(model: PreTrainedModel) -> None:
    """Let the model be saved: some ask for a temperature without sampling, which saving, hours later, would refuse."""
    if model.generation_config is None:
        return
    try:
        model.generation_config.validate(strict=True)
    except ValueError:
        model.generation_config.do_sample = True


def _balance_experts(config: PreTrainedConfig, weight: float) -> None:
    text = config.get_text_config()
    key = next((key for key in ("router_aux_loss_coef", "aux_loss_coef") if hasattr(text, key)), None)
    if key is None:
        message = f"moe_aux_loss_coef: models of type {config.model_type!r} have no load-balancing loss"
        raise RunError(message, "unset it")
    setattr(text, key, weight)
    text.output_router_logits = True


def _checkpoints(run: Run) -> bool:
    """Whether this loader turns on checkpointing of activations. The trainer's own key decides where it is set."""
    if run.config[TrainerConfig].activation_checkpointing is not None:
        return False
    disabled = run.config[HfConfig].disable_gradient_checkpointing
    return torch.accelerator.is_available() if disabled == "auto" else not disabled
