"""What a template does with a small conversation, tried once before any row is encoded."""

from __future__ import annotations

from typing import Any

from ftk.contracts import Tokens
from ftk.problems import RunError

from .engine import ChatTemplate

CONVERSATION = [
    {"role": "user", "content": "Are you there?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Good."},
    {"role": "assistant", "content": "Indeed."},
]


def end_of_turn(template: ChatTemplate, tokenizer: Any) -> str:
    """The token that ends an answer, and that the loss teaches.

    Raises RunError when a conversation cannot be rendered, no token carries loss, an answer ends with no control token
    that carries loss, or the text begins with two BOS tokens.
    """
    # One turn, because a template that rewrites earlier turns is refused row by row, and may still serve single turns.
    (row,) = template.encode([(CONVERSATION[:2], ())])
    if not isinstance(row, Tokens):
        raise RunError(
            f"template {template.name!r} cannot be used with this tokenizer: {row}", "choose another template"
        )
    ids = row.input_ids
    if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
        raise RunError(f"template {template.name!r} writes {tokenizer.bos_token!r} twice", "choose another template")
    trained = [token for token, weight in zip(ids, row.weights, strict=True) if weight]
    while trained and not tokenizer.decode(trained[-1:]).strip():
        trained.pop()
    if trained and trained[-1] in tokenizer.added_tokens_decoder:
        return tokenizer.convert_ids_to_tokens(trained[-1])
    raise RunError(
        f"template {template.name!r} ends an answer with no control token of this tokenizer that carries loss, "
        "so a model trained with it would never learn to stop",
        _advice(template, tokenizer),
    )


def first_difference(template: ChatTemplate, tokenizer: Any) -> str:
    """Where a template first departs from the tokenizer's own, or ""."""
    if not tokenizer.chat_template:
        return ""
    for messages, prompt in ((CONVERSATION, False), (CONVERSATION[:1], True)):
        ours = tokenizer(
            template.render(messages, generation_prompt=prompt), add_special_tokens=False, return_attention_mask=False
        )["input_ids"]
        try:
            theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False)
        except Exception as e:  # somebody's program: that it fails on this is itself the difference
            return f"that one cannot render a plain conversation ({e})"
        if ours != theirs:
            same = [a == b for a, b in zip(ours, theirs, strict=False)]
            at = same.index(False) if False in same else len(same)
            here, there = (tokenizer.convert_ids_to_tokens(ids[at : at + 1]) or ["the end"] for ids in (ours, theirs))
            return f"token {at} of a plain conversation is {here[0]!r} here and {there[0]!r} there"
    return ""


def _advice(template: ChatTemplate, tokenizer: Any) -> str:
    absent = [s for s in template.facts.stop if s not in tokenizer.added_tokens_encoder]
    if absent:
        return (
            f"add its tokens (add_special_tokens: '{','.join(absent)}', resize_vocab: true), or choose another template"
        )
    return "choose another template"
