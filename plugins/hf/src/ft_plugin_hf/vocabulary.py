"""The tokenizer's tokens, and rows of the embeddings for those that are new."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import yaml

from ftk.problems import RunError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .config import HfConfig

STEP = 64
"""Rows are added up to a multiple of this, which tensor cores want of a matrix's size."""

NOISE = 0.1
"""Standard deviation of new rows around their mean, in that of the old rows: they differ, and none stands out."""

PAD_TOKENS = (
    "<|finetune_right_pad_id|>",
    "<pad>",
    "<|pad|>",
    "[PAD]",
    "<|padding|>",
    "<|PAD_TOKEN|>",
    "<|endoftext|>",
    "<unk>",
)
"""What models that declare no pad token have in their vocabulary for it, or can spare; best first."""


def choose_pad_token(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Give the tokenizer a pad token if it has none, adding none. Returns it if it had to be the end-of-text token.

    Collators tell padding by the attention mask and by labels of -100, never by the token's id, so that even then the
    real end of a text carries loss.
    """
    if tokenizer.pad_token is not None:
        return None
    tokens = tokenizer.get_vocab()
    spare = next((t for t in PAD_TOKENS if t in tokens and t != tokenizer.eos_token), None)
    if spare is None and tokenizer.eos_token is None:
        hint = "add one of them to its tokenizer_config.json"
        raise RunError("the tokenizer has neither a pad token nor an end-of-text token", hint)
    tokenizer.pad_token = spare or tokenizer.eos_token
    return None if spare else tokenizer.pad_token


def add_tokens(tokenizer: PreTrainedTokenizerBase, cfg: HfConfig) -> dict[str, str]:
    """Add the tokens that the config names. Returns those that were not there, each with its description or ``""``."""
    plain = list(cfg.add_tokens or ())
    special = dict.fromkeys(cfg.add_special_tokens or (), "") | _descriptions(cfg.new_special_tokens_config)
    before = set(tokenizer.get_vocab())
    tokenizer.add_tokens(plain)
    if special:
        tokenizer.add_special_tokens({"extra_special_tokens": list(special)}, replace_extra_special_tokens=False)
    wanted = dict.fromkeys(plain, "") | special
    return {token: text for token, text in wanted.items() if token not in before}


def _descriptions(name: str | None) -> dict[str, str]:
    if name is None:
        return {}
    try:
        data = yaml.safe_load(Path(name).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise RunError(f"new_special_tokens_config: cannot read {name!r}: {e}") from None
    if not isinstance(data, dict) or not all(isinstance(part, str) and part for item in data.items() for part in item):
        message = f"new_special_tokens_config: {name!r} must map each token to a description"
        raise RunError(message, 'one line for each, such as "<think>": start of a thought')
    return data


def fit_embeddings(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    new: Mapping[str, str],
    *,
    init: str = "noise_init",
    seed: int = 0,
) -> int:
    """Grow the embeddings to the tokenizer, if they must, and start the rows of new tokens.

    new   token -> description, of the tokens that the checkpoint has never seen
    init  where a new row starts: ``noise_init`` near the mean of the old rows, ``desc_init`` at the mean of its
          description's, ``desc_init_w_noise`` near that

    Returns how many rows were added. The noise depends on the seed alone, so that training, chat and export, which all
    start from the checkpoint, agree.
    """
    had = model.get_input_embeddings().weight.shape[0]
    if (needed := tokens_of(tokenizer)) > had:
        model.resize_token_embeddings(needed, pad_to_multiple_of=STEP, mean_resizing=False)
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    ids = tokenizer.convert_tokens_to_ids(list(new))
    first = min([had, *ids])
    rows: dict[int, list[int]] = {row: [] for row in (*ids, *range(had, embedding.shape[0]))}
    if init != "noise_init":
        rows |= {row: _known_ids(tokenizer, token, new[token], first) for row, token in zip(ids, new, strict=True)}
    weights = [embedding] if head is None or head.weight is embedding else [embedding, head.weight]
    for number, weight in enumerate(weights):
        _start_rows(weight, rows, first, quiet=init == "desc_init", seed=seed + number)
    return embedding.shape[0] - had


def tokens_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many rows of an embedding the tokenizer can name. Its length does not say, where ids are left out."""
    return max(tokenizer.get_vocab().values()) + 1


def _known_ids(tokenizer: PreTrainedTokenizerBase, token: str, description: str, first: int) -> list[int]:
    ids = [i for i in tokenizer(description, add_special_tokens=False)["input_ids"] if i < first]
    if not ids:
        message = f"new_special_tokens_config: the description of {token!r} holds no token that the model knows"
        raise RunError(message, "describe it in other words")
    return ids


@torch.no_grad()
def _start_rows(weight: torch.Tensor, rows: Mapping[int, list[int]], first: int, *, quiet: bool, seed: int) -> None:
    """Fill ``rows`` of ``weight`` (vocabulary x hidden) from the rows before ``first``.

    rows   row -> rows whose mean it starts from; none stands for all
    quiet  leave out the noise for rows that have some of their own
    """
    known, wide = weight[:first], torch.promote_types(weight.dtype, torch.float32)
    mean = known.mean(dim=0, dtype=wide)
    mean_square = torch.linalg.vector_norm(known, dim=0, dtype=wide).square() / first
    std = (mean_square - mean.square()).clamp(min=0).sqrt()
    generator = torch.Generator().manual_seed(seed)
    for row, sources in rows.items():
        noise = torch.randn(mean.shape, generator=generator).to(mean) * std * NOISE
        start = known[sources].mean(dim=0, dtype=wide) if sources else mean
        weight[row] = (start if sources and quiet else start + noise).to(weight.dtype)
