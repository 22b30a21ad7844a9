import pickle

import pytest

from ft_plugin_preference.pairs import CHOSEN, PADDING, PROMPT, REJECTED, PairCollator, length_of, lengths_of
from ftk.contracts import Example
from ftk.problems import RowError
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_tokenizer

ASKED = [
    {"role": "system", "content": "you are small"},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "what"},
    {"role": "user", "content": "your name"},
]


def says(content: str):
    return [{"role": "assistant", "content": content}]


def pair(chosen: str = "the fox", rejected: str = "the lazy dog", **more) -> Example:
    return Example(messages=ASKED, chosen=says(chosen), rejected=says(rejected), **more)


def encoder_of(model_dir, **keys):
    run = make_run({"stage": "dpo", "model_name_or_path": str(model_dir), "template": "chatml", **keys})
    tokenizer = run.load_tokenizer()
    return run.encoder(tokenizer, run.load_template(tokenizer))


def encode(model_dir, example: Example, **keys):
    (made,) = encoder_of(model_dir, **keys).encode([example])
    return made


def text(ids) -> str:
    return tiny_tokenizer().decode(ids)


def test_the_prompt_is_there_once_and_both_answers_follow_it(tiny_model_dir):
    (made,) = encode(tiny_model_dir, pair())
    prompt = text(made.columns["prompt_input_ids"])
    assert prompt.endswith("your name<|im_end|>\n<|im_start|>assistant\n")
    for side, answer in (("chosen", "the fox"), ("rejected", "the lazy dog")):
        assert text(made.columns[f"{side}_input_ids"]).startswith(f"{answer}<|im_end|>")
        assert made.columns[f"{side}_labels"] == made.columns[f"{side}_input_ids"]
    assert made.truncated == 0


def test_answers_of_several_turns_carry_loss_in_what_the_assistant_says(tiny_model_dir):
    asked_again = [*says("the fox"), {"role": "user", "content": "what"}, *says("the dog")]
    (made,) = encode(tiny_model_dir, Example(messages=ASKED, chosen=asked_again, rejected=says("five")))
    labels = made.columns["chosen_labels"]
    assert "what" not in text([label for label in labels if label != -100])
    assert labels[0] != -100 and labels.count(-100) > 0


def test_a_common_beginning_of_both_answers_is_not_the_prompts(tiny_model_dir):
    (made,) = encode(tiny_model_dir, pair("the fox", "the fox jumps"))
    assert text(made.columns["chosen_input_ids"]).startswith("the fox<|im_end|>")
    assert text(made.columns["prompt_input_ids"]).endswith("assistant\n")


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (Example(messages=[*ASKED, *says("fox")]), "one answer, where this stage wants a chosen and a rejected answer"),
        (Example(text="raw"), "raw text, where this stage wants"),
        (Example(chosen=says("a"), rejected=says("b")), "no prompt"),
        (pair("the fox", "the fox"), "chosen and rejected are equal"),
        (pair("the fox", "  "), "the rejected answer is empty"),
        (pair("", "the fox"), "the chosen answer is empty"),
        (Example(), "one answer"),
    ],
)
def test_rows_that_are_no_pairs_are_refused_and_the_others_are_not(tiny_model_dir, example, message):
    first, refused, last = encoder_of(tiny_model_dir).encode([pair(), example, pair()])
    assert isinstance(refused, RowError) and message in str(refused)
    assert first == last and not isinstance(first, RowError)


def test_a_prompt_longer_than_the_cutoff_is_refused(tiny_model_dir):
    refused = encode(tiny_model_dir, pair(), cutoff_len=20)
    assert isinstance(refused, RowError) and "cutoff_len=20" in str(refused)


def test_only_answers_are_cut_each_on_its_own_and_counted(tiny_model_dir):
    (whole,) = encode(tiny_model_dir, pair("fox", "a lazy dog and another lazy dog and a quick fox"))
    prompt, rejected = (len(whole.columns[name]) for name in ("prompt_input_ids", "rejected_input_ids"))
    example = pair("fox", "a lazy dog and another lazy dog and a quick fox")
    (cut,) = encode(tiny_model_dir, example, cutoff_len=prompt + rejected - 4)
    assert cut.truncated == 4 and cut.where == "the end of turn 5"
    for name in ("prompt_input_ids", "chosen_input_ids", "chosen_labels"):
        assert cut.columns[name] == whole.columns[name]
    assert len(cut.columns["rejected_input_ids"]) == rejected - 4


def test_answers_that_differ_only_beyond_the_cutoff_are_refused(tiny_model_dir):
    same = "five dozen liquor jugs " * 8
    refused = encode(tiny_model_dir, pair(same + "fox", same + "dog"), cutoff_len=70)
    assert isinstance(refused, RowError) and "as far as they fit into cutoff_len" in str(refused)


def test_the_encoder_can_be_sent_to_other_processes_and_its_fingerprint_tells_what_it_does(tiny_model_dir):
    encoder = encoder_of(tiny_model_dir)
    assert pickle.loads(pickle.dumps(encoder)).encode([pair()]) == encoder.encode([pair()])
    prints = [encoder_of(tiny_model_dir, **k).fingerprint for k in ({}, {"cutoff_len": 90}, {"pref_beta": 0.5})]
    assert prints[0] == prints[2] != prints[1]


def row(prompt, chosen, rejected, **more):
    answers = {"chosen_input_ids": chosen, "chosen_labels": chosen}
    answers |= {"rejected_input_ids": rejected, "rejected_labels": [-100, *rejected[1:]]}
    return {"prompt_input_ids": prompt, **answers, **more}


ROWS = [row([11, 12, 13], [21, 22], [31, 32, 33]), row([41], [51, 52, 53], [61, 62])]


def test_a_row_is_prompt_chosen_rejected_each_answer_behind_the_prompts_last_token():
    batch = PairCollator(0)(ROWS)
    assert batch["input_ids"].tolist() == [[11, 12, 13, 21, 22, 13, 31, 32, 33], [41, 51, 52, 53, 41, 61, 62, 0, 0]]
    assert batch["labels"][0].tolist() == [-100, -100, -100, 21, 22, -100, -100, 32, 33]
    p, c, r, _ = PROMPT, CHOSEN, REJECTED, PADDING
    assert batch["segments"].tolist() == [[p, p, c, c, c, r, r, r, r], [c, c, c, c, r, r, r, _, _]]
    assert batch["attention_mask"].sum().item() == 16
    assert [length_of(row) for row in ROWS] == [9, 7]


def test_columns_of_a_reference_become_part_of_the_batch():
    rows = [{**row, "ref_chosen_logps": -1.5, "ref_rejected_logps": -0.1} for row in ROWS]
    assert PairCollator(0)(rows)["ref_rejected_logps"].tolist() == [-0.1, -0.1]


def test_parts_of_a_row_are_known_by_their_lengths():
    assert lengths_of(PairCollator(0)(ROWS)).tolist() == [[2, 3, 4], [0, 4, 3]]
