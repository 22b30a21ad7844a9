"""Keys of the order and loading of batches."""

from typing import Literal

from ftk.section import section


@section("loading")
class LoadingConfig:
    disable_shuffling: bool = False
    """Train on the rows in the order of the dataset."""
    sort_micro_batches: bool = True
    """Cut each global batch into the micro-batches that take the least time; the mathematics stays the same."""
    train_sampling_strategy: Literal["random", "sequential", "group_by_length", "batch_rebalance"] = "random"
    """Order in which rows are drawn for training."""
    length_column_name: str = "length"
    """Column with the rows' lengths, for the two strategies that go by length."""
    dataloader_drop_last: bool = False
    """Leave out the last batch of an epoch when it is incomplete."""
    dataloader_num_workers: int = 0
    """Processes that load batches; 0: the training process itself."""
    dataloader_pin_memory: bool = True
    """Load batches into pinned memory, which copies faster to a GPU."""
    dataloader_persistent_workers: bool = False
    """Keep the loading processes from one epoch to the next."""
    dataloader_prefetch_factor: int | None = None
    """Batches that each loading process prepares in advance."""
    dataloader_multiprocessing_context: str | None = None
    """How loading processes are started: ``fork``, ``spawn`` or ``forkserver``."""
    dataloader_in_order: bool = True
    """Use batches in their order rather than as soon as any is ready."""
