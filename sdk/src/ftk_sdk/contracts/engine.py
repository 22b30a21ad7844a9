"""What holds for every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftk.contracts import Engine

from ..testing import make_run
from .subject import Subject

QUESTION = ({"role": "user", "content": "What is your name?"},)
HISTORY = (*QUESTION, {"role": "assistant", "content": "A test model"}, {"role": "user", "content": "Hello"})


class EngineContract(Subject):
    """Set ``component`` and ``keys``, which select the engine. It is tried with a tiny model in a folder."""

    @pytest.fixture
    def engine(self, tiny_model_dir: Path) -> Engine:
        return self.made(tiny_model_dir)

    def made(self, model: Path) -> Engine:
        keys = {"model_name_or_path": str(model), "finetuning_type": "full", **self.keys}
        run = make_run(keys, action="chat", plugins=self.plugins)
        assert self.component in run.plan, f"{dict(self.keys)} does not plan {self.component}"
        return run.engine()

    def answer(self, engine: Engine, messages: Any = QUESTION, length: int = 8) -> str:
        """The most likely answer."""
        return "".join(engine.stream(messages, do_sample=False, max_new_tokens=length))

    def test_an_answer_comes_in_pieces_of_text(self, engine):
        pieces = list(engine.stream(QUESTION, do_sample=False, max_new_tokens=8))
        assert all(isinstance(piece, str) for piece in pieces), f"it streams {pieces!r}, not text"
        assert "".join(pieces), "the answer is empty"

    def test_without_sampling_it_answers_the_same_twice(self, engine):
        first, second = self.answer(engine), self.answer(engine)
        assert first == second, f"first {first!r}, then {second!r}"

    def test_keywords_override_the_config_for_one_call(self, engine):
        short, long = self.answer(engine, length=2), self.answer(engine, length=12)
        assert len(short) < len(long), f"with max_new_tokens=2 it says {short!r}, with 12 {long!r}"
        assert long.startswith(short.rstrip("\ufffd")), f"{short!r} is not the beginning of {long!r}"
        assert self.answer(engine, length=2) == short, "the second call kept the first call's keywords"

    def test_it_reads_the_turns_before(self, engine):
        assert isinstance(self.answer(engine, HISTORY), str)

    def test_an_answer_that_is_left_does_not_spoil_the_next(self, engine):
        wanted = self.answer(engine)
        left = iter(engine.stream(QUESTION, do_sample=False, max_new_tokens=12))
        next(left)
        del left
        made = self.answer(engine)
        assert made == wanted, f"after an answer that was left, it says {made!r}, not {wanted!r}"
