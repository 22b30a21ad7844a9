"""Keys owned by this plugin."""

from typing import Literal

from ftk.section import section

Policy = Literal["right", "left_history", "drop", "error"]


@section("data")
class DataConfig:
    dataset: list[str] | None = None
    """Names in `dataset_info.json`, paths of files or folders, or `hf:org/name`; commas between several."""
    eval_dataset: list[str] | None = None
    """Datasets to evaluate on, named like those of `dataset`."""
    dataset_dir: str = "data"
    """Folder of `dataset_info.json` and of the files it names; `ONLINE` takes every name for a hub id."""
    media_dir: str | None = None
    """Folder of images, videos and audios; `dataset_dir` when not given."""
    cutoff_len: int = 2048
    """Longest training sequence in tokens; `truncation` says what becomes of longer conversations."""
    truncation: Policy = "right"
    """What goes when a conversation is too long: its end, its oldest turns, the whole row; or it stops the run."""
    train_on_prompt: bool = False
    """Let the prompt's tokens carry loss too."""
    mask_history: bool = False
    """Let only the last answer of a conversation carry loss."""
    streaming: bool = False
    """Read rows while training instead of before it; needs `max_steps`."""
    buffer_size: int = 16384
    """Rows held for shuffling while streaming."""
    mix_strategy: Literal["concat", "interleave_under", "interleave_over", "interleave_once"] = "concat"
    """How several datasets become one: end to end; drawn until the first ends, until all ended, or each row once."""
    interleave_probs: list[float] | None = None
    """How often each dataset is drawn from when interleaving."""
    overwrite_cache: bool = False
    """Encode anew what the cache or `tokenized_path` holds."""
    preprocessing_batch_size: int = 1000
    """Rows formatted and encoded at a time."""
    preprocessing_num_workers: int | None = None
    """Processes that format and encode; one for each processor where rows are many, when not given."""
    max_samples: int | None = None
    """Use only the first so many rows of each dataset."""
    ignore_pad_token_for_loss: bool = True
    """Keep padding out of the loss."""
    val_size: float = 0.0
    """Part of the training data to evaluate on instead: a fraction below 1, or a number of rows."""
    eval_on_each_dataset: bool = False
    """Evaluate on each dataset of `eval_dataset` by itself."""
    tokenized_path: str | None = None
    """Folder where encoded data is kept and found again; data made in another way is refused."""
    data_shared_file_system: bool = False
    """All machines of a distributed run see one file system, so that only the first process writes."""
    max_drop: str | None = "1%"
    """Stop when more rows of a dataset than this cannot be used: a number, or a percentage; `null` for no limit."""

    @property
    def train_on(self) -> Literal["assistant", "last", "all"]:
        """What carries loss, in the words of templates."""
        return "all" if self.train_on_prompt else "last" if self.mask_history else "assistant"
