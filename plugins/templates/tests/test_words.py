"""Word by word, a text has the ids that the tokenizer itself gives it."""

import json
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ft_plugin_templates.words import WordTokenizer, ascii_pattern
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_tokenizer

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PUNCTUATED = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def by(*patterns, behavior="isolated", invert=False):
    steps = [pre_tokenizers.Split(Regex(pattern), behavior, invert) for pattern in patterns]
    return [*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


KINDS = {
    "gpt2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "digits": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "llama3": by(LLAMA3),
    "removed": by(LLAMA3, behavior="removed", invert=True),
    "o200k": by(O200K),
    "three": by(r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", PUNCTUATED),
}


def made(kind):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(KINDS[kind])
    tokenizer.normalizer = normalizers.NFC() if kind == "llama3" else None
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(
        [pytest.__doc__ or "", LLAMA3, "It's the 1234th naïve café: \n\n  ok!? " * 50], trainer
    )
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), "  "])
    return tokenizer


TOKENIZERS = {kind: made(kind) for kind in KINDS}
TEXT = st.lists(
    st.one_of(
        st.text(st.characters(codec="utf-8", exclude_categories=["Co"]), max_size=6),
        st.text(st.sampled_from(" \t\n\r.'sSx1²٣éé中"), max_size=8),
        st.sampled_from(["<|im_start|>", "<|im_end|>", "<think>", "user\n", "It's", "  ", " 12345"]),
    ),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(text=TEXT)
@example(text="a  <think>\r\n\x1c\x85 'S 12345 e\u0301 \u1e9e\u2028")
def test_ids_are_those_of_the_tokenizer(kind, text):
    words = WordTokenizer.of(TOKENIZERS[kind])
    found = words.encode(text, [])
    if found is not None:
        assert found[0] == TOKENIZERS[kind].encode(text, add_special_tokens=False).ids
    elif text.isascii():
        pytest.fail("ASCII is left to the tokenizer")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=TEXT, data=st.data())
def test_cuts_are_where_tokens_begin(kind, text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    found = WordTokenizer.of(TOKENIZERS[kind]).encode(text, cuts)
    if found is None:
        return
    ids, places = found
    encoding = TOKENIZERS[kind].encode(text, add_special_tokens=False)
    assert len(places) == len(cuts)
    for cut, place in zip(cuts, places, strict=True):
        assert all(end <= cut for _, end in encoding.offsets[:place])
        assert all(start >= cut for start, _ in encoding.offsets[place:])
    assert ids == encoding.ids


def test_a_cut_within_a_word_is_left_to_the_tokenizer():
    words = WordTokenizer.of(TOKENIZERS["gpt2"])
    assert words.encode("hello there", [3]) is None
    assert words.encode("a<|im_end|>", [4]) is None
    assert words.encode("hello there", [0, 5, 11])[1][0] == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.Metaspace()),
        lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)),
        lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.Sequence(by(r"(\w)+"))),
        lambda t: setattr(t, "normalizer", normalizers.Lowercase()),
        lambda t: t.add_tokens([AddedToken("<mask>", lstrip=True)]),
        lambda t: setattr(t, "model", models.WordLevel({"a": 0}, unk_token="a")),
    ],
)
def test_tokenizers_of_another_kind_are_left_alone(change):
    tokenizer = Tokenizer.from_str(TOKENIZERS["gpt2"].to_str())
    change(tokenizer)
    assert WordTokenizer.of(tokenizer) is None


def test_expressions_mean_in_ascii_what_they_mean():
    assert ascii_pattern(r"[^\s\p{L}\p{N}]+|\p{Lu}\P{L}") == r"[^\sA-Za-z0-9]+|[A-Z][^A-Za-z]"
    assert ascii_pattern(r"\p{M}|[\]\p{Nd}]") == r"(?!)|[\]0-9]"


def test_conversations_have_the_same_ids_either_way():
    tokenizer = tiny_tokenizer()
    template = make_run({"template": "chatml"}, components=["template:chatml"]).load_template(tokenizer)
    slow = pickle.loads(pickle.dumps(template))
    slow._control._looked = True  # for words, and has found that there are none
    texts = ["Hello there", "  \n\nodd  spaces ", "naïve café 中文", "<|im_end|> in text", json.dumps({"a": [1]})]
    talks = [([{"role": "user", "content": a}, {"role": "assistant", "content": b}], ()) for a in texts for b in texts]
    for train_on in ("assistant", "all"):
        assert template.encode(talks, train_on=train_on) == slow.encode(talks, train_on=train_on)
    assert template._control._words is not None
    assert slow._control._words is None
