"""Keys owned by this plugin."""

from typing import Literal

from ftk.section import section


@section("merge", enabled_by="export_dir", late=True)
class MergeConfig:
    export_dir: str | None = None
    """Folder to write the merged model to. Set in a training run, the result is exported when training has ended."""
    export_size: int = 5
    """Size of a file of weights, in GB of 10^9 bytes."""
    export_device: Literal["cpu", "auto"] = "cpu"
    """Where to merge: `cpu`, or the accelerator if there is one (`auto`)."""
    export_without_template: bool = False
    """Leave the chat template out of the saved tokenizer."""
    export_hub_model_id: str | None = None
    """Repository of the Hugging Face hub to upload the exported folder to, as `owner/name`."""
    export_legacy_format: bool = False
    """Write pickled `.bin` files. Not possible with transformers 5, which writes safetensors only."""
