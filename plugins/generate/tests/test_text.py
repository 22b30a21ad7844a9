import random

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from ft_plugin_generate.text import decoded, until
from ftk_sdk.tiny import tiny_tokenizer

SAMPLE = "H\u00e9llo w\u00f6rld, \u4f60\u597d\u4e16\u754c! \U0001f680\U0001f44d\U0001f3fd and more  spaces\n\n\tend"


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """Llama 2's way: words begin with a bar for their space, and what is not a word is spelled in bytes."""
    words = ["<unk>", "\u2581", "\u2581and", "\u2581more", "\u2581end", "H", "llo", "\u2581w", "rld", ",", "!"]
    vocabulary = {token: i for i, token in enumerate([*words, *(f"<0x{b:02X}>" for b in range(256))])}
    backend = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))
    strip = decoders.Strip(content=" ", left=1, right=0)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), strip]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("tokenizer", [tiny_tokenizer(), byte_fallback_tokenizer()], ids=["bytes", "byte fallback"])
def test_the_pieces_joined_are_the_decoded_whole(tokenizer):
    ids = tokenizer.encode(SAMPLE, add_special_tokens=False)
    pieces = list(decoded(ids, tokenizer.decode))
    assert "".join(pieces) == tokenizer.decode(ids)
    assert len(pieces) > 10 and all(pieces)


@pytest.mark.parametrize("tokenizer", [tiny_tokenizer(), byte_fallback_tokenizer()], ids=["bytes", "byte fallback"])
def test_characters_are_never_cut(tokenizer):
    text = "\u4f60\u597d\U0001f680\u00e9" * 5
    pieces = list(decoded(tokenizer.encode(text, add_special_tokens=False), tokenizer.decode))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_an_unfinished_character_at_the_end_is_not_lost():
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode("a\U0001f680")[:-1]
    assert "".join(decoded(ids, tokenizer.decode)) == tokenizer.decode(ids)


def test_text_comes_as_early_as_it_can():
    tokenizer = tiny_tokenizer()
    seen = []

    def ids():
        for token in tokenizer.encode("the quick brown fox"):
            seen.append(token)
            yield token

    for i, _ in enumerate(decoded(ids(), tokenizer.decode), start=1):
        assert len(seen) == i


@pytest.mark.parametrize(
    ("stops", "text"),
    [
        (["END"], "abc"),
        (["cE", "END"], "ab"),
        (["a"], ""),
        ([], "abcENDdef"),
        (["x"], "abcENDdef"),
        ([""], "abcENDdef"),
    ],
)
def test_text_ends_before_the_first_stop_string(stops, text):
    assert "".join(until(["abcENDdef"], stops)) == text


def test_stop_strings_are_found_however_the_text_is_cut():
    text, stops = "one <|im_ed> two <|im_<|im_end|> three", ["<|im_end|>", "<|eot|>"]
    rng = random.Random(0)
    for _ in range(200):
        cuts = sorted(rng.sample(range(1, len(text)), rng.randint(0, 12)))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert "".join(until(pieces, stops)) == "one <|im_ed> two <|im_"


def test_only_what_may_begin_a_stop_string_is_held_back():
    out = until(iter(["hello <", "b> world <|im", "x"]), ["<|im_end|>"])
    assert list(out) == ["hello ", "<b> world ", "<|imx"]


def test_nothing_is_read_after_a_stop_string():
    def endless():
        yield "a STOP"
        raise AssertionError("read on")

    assert "".join(until(endless(), ["STOP"])) == "a "
