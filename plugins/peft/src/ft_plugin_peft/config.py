"""Keys that every adapter of peft shares."""

from ftk.section import section


@section("peft")
class AdapterConfig:
    adapter_name_or_path: list[str] | None = None
    """Adapters to load: folders or hub ids, separated by commas.

    All but the last are merged into the weights, in order; the last is trained further, or answers in chat and export.
    """
    adapter_folder: str | None = None
    """Folder inside each of `adapter_name_or_path` that holds the adapter."""
    create_new_adapter: bool = False
    """Merge all of `adapter_name_or_path` and train a new adapter on the result."""
    additional_target: list[str] | None = None
    """Modules beside the adapter's own that train in full and are saved with it, separated by commas.

    When not given: the embeddings and the output head if the run adds tokens, else none.
    """
