"""The engine contract passes a good engine, and each of its assertions catches a broken one."""

import pytest
import torch

from ftk.markers import hookimpl
from ftk_sdk.contracts import EngineContract
from ftk_sdk.fakes import installed_with, plugin


class Greedy:
    """One token after the other, by hand."""

    def __init__(self, model, tokenizer, template):
        self.model, self.tokenizer, self.template = model, tokenizer, template

    def stream(self, messages, *, tools=(), max_new_tokens=4, **generation):
        ids, said = self.template.encode_prompt(messages, tools=tools), ""
        begin = len(ids)
        for _ in range(max_new_tokens):
            with torch.no_grad():
                ids.append(int(self.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            text = self.tokenizer.decode(ids[begin:])
            yield text.removeprefix(said)
            said = text


class GreedyEngine:
    answers = Greedy

    @hookimpl
    def ftk_engine(self, run):
        tokenizer = run.load_tokenizer()
        model = run.adapt_model(run.load_model()).eval()
        return self.answers(model, tokenizer, run.load_template(tokenizer))


def found(cls):
    name = f"engine:{cls.__name__.lower()}"
    return name, installed_with(plugin(offers={name: cls}))


class TestAGoodEngine(EngineContract):
    component, plugins = found(GreedyEngine)
    keys = {"infer_backend": "greedyengine"}


class Tokens(Greedy):
    def stream(self, messages, **generation):
        yield from (1, 2, 3)


class Silent(Greedy):
    def stream(self, messages, **generation):
        return iter(())


class Moody(Greedy):
    mood = 0

    def stream(self, messages, **generation):
        self.mood += 1
        yield f"answer {self.mood}"


class Stubborn(Greedy):
    def stream(self, messages, **generation):
        return super().stream(messages, max_new_tokens=4)


class Rambling(Greedy):
    def stream(self, messages, max_new_tokens=4, **generation):
        yield f"{max_new_tokens} " * max_new_tokens


class Remembers(Greedy):
    length = 0

    def stream(self, messages, max_new_tokens=4, **generation):
        self.length = max(self.length, max_new_tokens)
        return super().stream(messages, max_new_tokens=self.length)


class Forgets(Greedy):
    def stream(self, messages, **generation):
        if len(messages) > 1:
            raise AssertionError("one message at a time")
        return super().stream(messages, **generation)


class Queue(Greedy):
    """What was not read of one answer begins the next."""

    left = ()

    def stream(self, messages, **generation):
        self.left = [*self.left, *super().stream(messages, **generation)]
        while self.left:
            yield self.left.pop(0)


SAME = "test_without_sampling_it_answers_the_same_twice"
KEYWORDS = "test_keywords_override_the_config_for_one_call"
BROKEN = [
    ("test_an_answer_comes_in_pieces_of_text", Tokens, "it streams [1, 2, 3], not text"),
    ("test_an_answer_comes_in_pieces_of_text", Silent, "the answer is empty"),
    (SAME, Moody, "first 'answer 1', then 'answer 2'"),
    (KEYWORDS, Stubborn, "with max_new_tokens=2 it says"),
    (KEYWORDS, Rambling, "is not the beginning of"),
    (KEYWORDS, Remembers, "the second call kept the first call's keywords"),
    ("test_it_reads_the_turns_before", Forgets, "one message at a time"),
    ("test_an_answer_that_is_left_does_not_spoil_the_next", Queue, "after an answer that was left"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_engine_is_caught(caught, tiny_model_dir, method, broken, message):
    class Target(GreedyEngine):
        answers = broken

    class Contract(EngineContract):
        component, plugins = found(Target)
        keys = {"infer_backend": "target"}

    engine = Contract().made(tiny_model_dir)
    assert message in caught(Contract, method, engine=engine)


def test_an_engine_that_its_keys_do_not_select_is_caught(caught, tiny_model_dir):
    class Contract(EngineContract):
        component, plugins = "engine:other", found(GreedyEngine)[1]
        keys = {"infer_backend": "greedyengine"}

    assert "does not plan engine:other" in caught(Contract, "made", model=tiny_model_dir)
