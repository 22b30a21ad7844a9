"""The template contract passes a good template, and each of its assertions catches a broken one."""

from dataclasses import replace

import pytest

from ft_plugin_templates.engine import ChatTemplate
from ft_plugin_templates.pack import Facts
from ftk.contracts import Tokens
from ftk.markers import hookimpl
from ftk.problems import RowError
from ftk_sdk.contracts import TemplateContract
from ftk_sdk.contracts.template import CONVERSATION
from ftk_sdk.fakes import installed_with, plugin

JINJA = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
FACTS = Facts(name="bars", chat_template=JINJA, stop=("<|end|>",))


class Bars:
    @hookimpl
    def ftk_load_template(self, run, tokenizer):
        return ChatTemplate(FACTS, tokenizer)


class BarsContract(TemplateContract):
    tokens = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
    golden = "".join(f"<|{m['role']}|>{m['content']}<|end|>" for m in CONVERSATION)


class TestAGoodTemplate(BarsContract):
    component = "template:bars"
    plugins = installed_with(plugin(offers={"template:bars": Bars}))


class Changed(ChatTemplate):
    """A template that overrides something."""

    @classmethod
    def component(cls):
        class Target:
            @hookimpl
            def ftk_load_template(self, run, tokenizer):
                return cls(FACTS, tokenizer)

        return Target


class Greets(Changed):
    def render(self, messages, **options):
        return "Hello. " + super().render(messages, **options)


class Shortens(Changed):
    def encode(self, conversations, **options):
        return [replace(t, input_ids=t.input_ids[1:], weights=t.weights[1:]) for t in super().encode(conversations)]


class TrainsAll(Changed):
    def encode(self, conversations, **options):
        return [Tokens(t.input_ids, [1.0] * len(t.weights)) for t in super().encode(conversations)]


class MissesTheEnd(Changed):
    def encode(self, conversations, **options):
        return [Tokens(t.input_ids, without_last(t.weights)) for t in super().encode(conversations)]


def without_last(weights):
    return [w if following else 0.0 for w, following in zip(weights, [*weights[1:], 0.0], strict=True)]


class OnlyTheLast(Changed):
    def encode(self, conversations, **options):
        return super().encode(conversations, train_on="last")


class IgnoresWeights(Changed):
    def encode(self, conversations, **options):
        return super().encode([([{**m, "weight": 1.0} for m in ms], tools) for ms, tools in conversations])


class Refuses(Changed):
    def encode(self, conversations, **options):
        return [RowError("no") for _ in conversations]


class PromptsDifferently(Changed):
    def encode_prompt(self, messages, **options):
        return super().encode_prompt([*messages, {"role": "user", "content": "Please."}])


class SavesAnother(Changed):
    @property
    def jinja(self):
        return super().jinja.replace("<|user|>", "<|human|>").replace("<|end|>", "\n")


class SpellsControlOut:
    """The right text, of the wrong tokens."""

    @hookimpl
    def ftk_load_template(self, run, tokenizer):
        class Spelled(ChatTemplate):
            def encode(self, conversations, **options):
                texts = [self.render(messages) for messages, _ in conversations]
                ids = [tokenizer(text, split_special_tokens=True)["input_ids"] for text in texts]
                return [Tokens(row, [1.0] * len(row)) for row in ids]

        return Spelled(FACTS, tokenizer)


class BelievesUsers:
    @hookimpl
    def ftk_load_template(self, run, tokenizer):
        class Naive(ChatTemplate):
            def encode_prompt(self, messages, **options):
                return tokenizer(self.render(messages, generation_prompt=True), add_special_tokens=False)["input_ids"]

        return Naive(FACTS, tokenizer)


LOSS = "test_the_assistants_turns_carry_loss_with_their_end_and_nothing_else_does"
IDS = "test_its_token_ids_are_those_of_its_text"
BROKEN = [
    ("test_it_renders_the_conversation_to_the_letter", Greets, "Hello. <|system|>"),
    (IDS, Shortens, "its token ids say 'You answer in one word."),
    (IDS, Refuses, "the conversation is refused: no"),
    (LOSS, TrainsAll, "2 answers, but these carry loss"),
    (LOSS, OnlyTheLast, "2 answers, but these carry loss"),
    (LOSS, MissesTheEnd, "after 'Five' what carries loss is ''"),
    ("test_a_turn_of_weight_zero_carries_no_loss", IgnoresWeights, "a turn of weight 0 carries loss"),
    ("test_a_prompt_is_what_the_answer_begins_with_in_training", PromptsDifferently, "Please."),
    ("test_the_tokenizer_that_is_saved_renders_the_same", SavesAnother, "with the saved Jinja the tokenizer renders"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_template_is_caught(caught, method, broken, message):
    class Contract(BarsContract):
        component = "template:broken"
        plugins = installed_with(plugin(offers={"template:broken": broken.component()}))

    assert message in caught(Contract, method)


@pytest.mark.parametrize(
    ("method", "broken", "message"),
    [
        (IDS, SpellsControlOut, "control tokens became text"),
        ("test_control_tokens_in_what_users_write_stay_text", BelievesUsers, "became the control token"),
    ],
)
def test_a_template_that_confuses_text_and_control_tokens_is_caught(caught, method, broken, message):
    class Contract(BarsContract):
        component = "template:broken"
        plugins = installed_with(plugin(offers={"template:broken": broken}))

    assert message in caught(Contract, method)
