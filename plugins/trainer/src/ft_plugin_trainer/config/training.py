"""Keys of the optimisation itself."""

from typing import Any, Literal

from ftk.section import section


@section("trainer")
class TrainerConfig:
    per_device_train_batch_size: int = 8
    """Rows that a device sees at once in training."""
    gradient_accumulation_steps: int = 1
    """Batches of each device that make one optimizer step."""
    num_train_epochs: float = 3.0
    """Passes over the training data; may be fractional."""
    max_steps: int = -1
    """Optimizer steps in all. Overrides ``num_train_epochs`` when positive; needed when the data is streamed."""
    learning_rate: float = 5e-5
    """Peak learning rate."""
    lr_scheduler_type: Literal[
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
        "constant",
        "constant_with_warmup",
        "inverse_sqrt",
        "reduce_lr_on_plateau",
        "cosine_with_min_lr",
        "cosine_warmup_with_min_lr",
        "warmup_stable_decay",
        "greedy",
    ] = "linear"
    """How the learning rate changes over the run."""
    lr_scheduler_kwargs: dict[str, Any] | None = None
    """Further arguments of that schedule, such as ``{min_lr_rate: 0.1}``."""
    warmup_steps: int | float = 0
    """Steps over which the learning rate rises from 0; below 1, a share of all steps."""
    optim: str = "adamw_torch_fused"
    """Optimizer by name: one of transformers' or of an installed optimizer plugin."""
    optim_args: str | None = None
    """Further arguments of that optimizer, as ``name=value,name=value``."""
    optim_target_modules: str | list[str] | None = None
    """Modules that transformers' own GaLore and APOLLO optimizers work on."""
    weight_decay: float = 0.0
    """Decoupled weight decay; biases and norms are left out."""
    adam_beta1: float = 0.9
    """Decay of the first moment in optimizers of the Adam family."""
    adam_beta2: float = 0.999
    """Decay of the second moment in optimizers of the Adam family."""
    adam_epsilon: float = 1e-8
    """Added to Adam's denominator."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 leaves them alone."""
    label_smoothing_factor: float = 0.0
    """Share of the target probability that is spread evenly over the vocabulary."""
    bf16: bool = False
    """Train in bfloat16 mixed precision: frozen weights and products in bfloat16, trained weights in float32."""
    fp16: bool = False
    """Train in float16 mixed precision, with a scaled loss."""
    pure_bf16: bool = False
    """Keep also the trained weights in bfloat16. Half the memory of ``bf16``, less exact updates."""
    tf32: bool | None = None
    """Allow TF32 products on GPUs that have them."""
    activation_checkpointing: bool | None = None
    """Recompute activations in the backward pass instead of keeping them."""
    activation_checkpointing_kwargs: dict[str, Any] | None = None
    """How to recompute them: ``every_n_layers``, ``offload``, ``use_reentrant``."""
    torch_compile: bool = False
    """Compile the model's layers with ``torch.compile``: the first steps wait for it, the others are faster."""
    torch_compile_backend: str | None = None
    """Backend of ``torch.compile``; setting it turns compilation on."""
    torch_compile_mode: str | None = None
    """Mode of ``torch.compile``; setting it turns compilation on."""
    use_cache: bool = False
    """Let the model fill its key-value cache while training, which a few adapters need."""
    torch_empty_cache_steps: int | None = None
    """Empty the device's memory cache every so many steps: slower, but a lower peak."""
    auto_find_batch_size: bool = False
    """Halve the batch size after an out-of-memory error, and begin again."""
    use_cpu: bool = False
    """Train on the CPU although there is an accelerator."""
    full_determinism: bool = False
    """Use deterministic kernels only: slower, and some models have none."""
    data_seed: int | None = None
    """Seed of the order of the data, when it shall differ from ``seed``."""
