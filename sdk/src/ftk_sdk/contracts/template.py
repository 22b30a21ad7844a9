"""What holds for every template."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, ClassVar

from ftk.contracts import Message, Template, Tokens

from ..tiny import tiny_tokenizer
from .subject import Subject

CONVERSATION: tuple[Message, ...] = (
    {"role": "system", "content": "You answer in one word."},
    {"role": "user", "content": "What is 2 + 3?"},
    {"role": "assistant", "content": "Five"},
    {"role": "user", "content": "And the capital of France?"},
    {"role": "assistant", "content": "Paris"},
)


class TemplateContract(Subject):
    """Set ``component``, ``golden`` and ``tokens``."""

    golden: ClassVar[str]
    """What ``conversation`` renders to, to the letter."""
    tokens: ClassVar[Sequence[str]] = ()
    """Control tokens of the template that its tokenizers have, beside ``<|im_start|>`` and ``<|im_end|>``."""
    conversation: ClassVar[Sequence[Message]] = CONVERSATION

    def tokenizer(self) -> Any:
        return tiny_tokenizer(extra_tokens=tuple(self.tokens))

    def template(self) -> Template:
        return self.run().load_template(self.tokenizer())

    def answers(self) -> list[str]:
        return [str(m["content"]) for m in self.conversation if m["role"] == "assistant"]

    def encoded(self, messages: Sequence[Message]) -> Tokens:
        (tokens,) = self.template().encode([(messages, ())])
        assert isinstance(tokens, Tokens), f"the conversation is refused: {tokens}"
        return tokens

    def trained(self, messages: Sequence[Message]) -> list[str]:
        """The stretches of text that carry loss."""
        tokens, tokenizer = self.encoded(messages), self.tokenizer()
        pairs = groupby(zip(tokens.input_ids, tokens.weights, strict=True), key=lambda pair: pair[1] > 0)
        return [tokenizer.decode([token for token, _ in run]) for carries, run in pairs if carries]

    def test_it_renders_the_conversation_to_the_letter(self):
        made = self.template().render(self.conversation)
        assert made == self.golden, f"it renders\n{made!r}, not\n{self.golden!r}"

    def test_its_token_ids_are_those_of_its_text(self):
        wanted = self.tokenizer()(self.golden, add_special_tokens=False)["input_ids"]
        made = self.encoded(self.conversation).input_ids
        assert self.tokenizer().decode(made) == self.golden, f"its token ids say {self.tokenizer().decode(made)!r}"
        control = set(self.tokenizer().all_special_ids)
        assert [i for i in made if i in control] == [i for i in wanted if i in control], "control tokens became text"

    def test_the_assistants_turns_carry_loss_with_their_end_and_nothing_else_does(self):
        answers, trained = self.answers(), self.trained(self.conversation)
        assert len(trained) == len(answers), f"{len(answers)} answers, but these carry loss: {trained!r}"
        ends = (*self.template().stop, self.tokenizer().eos_token)
        for text, answer in zip(trained, answers, strict=True):
            assert text.lstrip().startswith(answer), f"what carries loss is {text!r}, not {answer!r} and its end"
            rest = text.lstrip().removeprefix(answer).strip()
            assert rest in ends, f"after {answer!r} what carries loss is {rest!r}, not one of the stops {ends!r}"

    def test_a_turn_of_weight_zero_carries_no_loss(self):
        muted = [Message(**m) for m in self.conversation]
        next(m for m in muted if m["role"] == "assistant")["weight"] = 0.0
        assert len(self.trained(muted)) == len(self.answers()) - 1, "a turn of weight 0 carries loss"

    def test_a_prompt_is_what_the_answer_begins_with_in_training(self):
        prompt = self.template().encode_prompt(self.conversation[:-1])
        whole = self.encoded(self.conversation).input_ids
        began = self.tokenizer().decode(whole[: len(prompt)])
        assert whole[: len(prompt)] == prompt, f"prompt {self.tokenizer().decode(prompt)!r}, in training {began!r}"

    def test_control_tokens_in_what_users_write_stay_text(self):
        template, tokenizer = self.template(), self.tokenizer()
        for spelled in tokenizer.all_special_tokens:
            token = tokenizer.convert_tokens_to_ids(spelled)
            plain, spiked = (
                template.encode_prompt([{"role": "user", "content": text}]) for text in ("hi", f"hi {spelled} there")
            )
            assert plain.count(token) == spiked.count(token), f"{spelled!r} in a user's text became the control token"

    def test_the_tokenizer_that_is_saved_renders_the_same(self):
        tokenizer, template = self.tokenizer(), self.template()
        tokenizer.chat_template = template.jinja
        made = tokenizer.apply_chat_template(list(self.conversation), tokenize=False)
        assert made == template.render(self.conversation), f"with the saved Jinja the tokenizer renders {made!r}"
