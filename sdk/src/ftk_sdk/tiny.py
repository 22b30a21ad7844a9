"""Models and tokenizers small enough for any test, built in code: no hub, no files of others."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_TEXT = (
    "the quick brown fox jumps over the lazy dog while seven wizards pack my box with five dozen liquor jugs",
    "user assistant system tool question answer hello world what is your name I am a small test model",
)


def tiny_tokenizer(chat_template: str | None = CHATML, extra_tokens: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A byte-level BPE of some 400 tokens that encodes any text, with ChatML's control tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>", *extra_tokens]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(_TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>", *extra_tokens],
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
    )


def tiny_llama(
    *,
    dtype: torch.dtype = torch.float32,
    vocab_size: int = 512,
    hidden: int = 32,
    layers: int = 2,
    tied: bool = False,
    seed: int = 0,
) -> LlamaForCausalLM:
    """A Llama of some 50,000 parameters with random weights that depend on the seed alone."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: torch.nn.Module = LlamaForCausalLM(config)
    return cast(LlamaForCausalLM, model.to(dtype))


def write_tiny_model(folder: Path, *, dtype: torch.dtype = torch.float32, tied: bool = False, seed: int = 0) -> Path:
    """A folder that ``from_pretrained`` loads: the tiny model and its tokenizer."""
    tiny_llama(dtype=dtype, tied=tied, seed=seed).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
