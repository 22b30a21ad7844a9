import json
import pickle

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from ft_plugin_sft import plugin
from ftk.contracts import Encoded, Example
from ftk.execute import start
from ftk.problems import RowError
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.evidence import checked
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer

TALK = [
    {"role": "system", "content": "you are small"},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "the fox"},
    {"role": "user", "content": "your name"},
    {"role": "assistant", "content": "lazy dog"},
]


class TestPlugin(PluginContract):
    plugin = plugin


class TestStage(StageContract):
    component = "stage:sft"
    keys = {"template": "chatml"}
    example = Example(messages=TALK)
    loss_on = {"labels": ["the fox<|im_end|>", "lazy dog<|im_end|>"]}


def encoder_of(model_dir, **keys):
    run = make_run({"model_name_or_path": str(model_dir), "template": "chatml", **keys})
    tokenizer = run.load_tokenizer()
    return run.encoder(tokenizer, run.load_template(tokenizer))


def encode(model_dir, messages=TALK, **keys) -> Encoded:
    ((encoded,),) = encoder_of(model_dir, **keys).encode([Example(messages=messages)])
    return encoded


def trained(encoded: Encoded) -> str:
    return tiny_tokenizer().decode([label for label in encoded.columns["labels"] if label != -100])


def test_history_can_be_masked(tiny_model_dir):
    assert "fox" not in trained(encode(tiny_model_dir, mask_history=True))
    assert "lazy dog<|im_end|>" in trained(encode(tiny_model_dir, mask_history=True))


def test_the_prompt_can_be_trained_on(tiny_model_dir):
    encoded = encode(tiny_model_dir, train_on_prompt=True)
    assert encoded.columns["labels"] == encoded.columns["input_ids"]


def test_a_message_without_weight_is_masked_and_there_is_no_column_of_weights(tiny_model_dir):
    talk = [m | {"weight": 0} if m["content"] == "the fox" else m for m in TALK]
    encoded = encode(tiny_model_dir, talk)
    assert "fox" not in trained(encoded)
    assert encoded.columns["weights"] is None


def test_a_weight_of_a_message_is_that_of_its_tokens(tiny_model_dir):
    talk = [m | {"weight": 0.5} if m["content"] == "the fox" else m for m in TALK]
    plain, weighted = encode(tiny_model_dir).columns, encode(tiny_model_dir, talk).columns
    assert plain["labels"] == weighted["labels"]
    pairs = zip(weighted["labels"], weighted["weights"], strict=True)
    assert {weight for label, weight in pairs if label != -100} == {0.5, 1.0}


def test_what_is_beyond_the_cutoff_is_cut_off_the_last_answer(tiny_model_dir):
    whole = encode(tiny_model_dir)
    n = len(whole.columns["input_ids"])
    cut = encode(tiny_model_dir, cutoff_len=n - 3)
    assert cut.truncated == 3
    closing = [2, *whole.columns["input_ids"][whole.columns["input_ids"].index(2, -3) + 1 :]]
    assert cut.columns["input_ids"] == [*whole.columns["input_ids"][: n - 3 - len(closing)], *closing]
    assert cut.where.startswith("the end of turn ")
    assert cut.columns["labels"][n - 3 - len(closing)] == 2


def test_a_row_whose_answers_all_begin_beyond_the_cutoff_is_refused(tiny_model_dir):
    (result,) = encoder_of(tiny_model_dir, cutoff_len=8).encode([Example(messages=TALK)])
    assert isinstance(result, RowError)
    assert str(result) == "no room for the first answer in cutoff_len=8 tokens"


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (Example(), "no messages"),
        (Example(text="raw"), "raw text, where 'stage: sft' wants messages"),
        (
            Example(text="raw", messages=[{"role": "user", "content": "raw"}]),
            "raw text, where 'stage: sft' wants messages",
        ),
        (Example(messages=TALK[:2], chosen=TALK[2:3], rejected=TALK[4:]), "a chosen and a rejected answer"),
        (Example(messages=TALK[:2]), "no token"),
    ],
)
def test_rows_of_another_kind_are_refused_and_the_others_are_not(tiny_model_dir, example, message):
    first, refused, last = encoder_of(tiny_model_dir).encode([Example(messages=TALK), example, Example(messages=TALK)])
    assert isinstance(refused, RowError) and message in str(refused)
    assert first == last and isinstance(first[0], Encoded)


def test_a_batch_is_padded_on_the_right_and_padding_is_neither_seen_nor_trained_on(tiny_model_dir):
    encoder = encoder_of(tiny_model_dir)
    pad = tiny_tokenizer().pad_token_id
    batch = encoder.collate(
        [
            {"input_ids": [7, 8, 9], "labels": [-100, 8, 9], "weights": None},
            {"input_ids": [7, 8], "labels": [-100, 8], "weights": [0.0, 0.5]},
        ]
    )
    assert batch["input_ids"].tolist() == [[7, 8, 9], [7, 8, pad]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[-100, 8, 9], [-100, 8, -100]]
    assert batch["weights"].tolist() == [[1, 1, 1], [0, 0.5, 0]]


def test_the_fingerprint_changes_with_what_is_encoded_and_with_nothing_else(tiny_model_dir):
    keys = [{}, {"cutoff_len": 9}, {"mask_history": True}, {"template": "qwen"}, {"learning_rate": 1.0}]
    prints = [encoder_of(tiny_model_dir, **k).fingerprint for k in keys]
    assert prints[0] == prints[-1]
    assert len(set(prints)) == 4


def test_the_encoder_can_be_sent_to_other_processes(tiny_model_dir):
    encoder = encoder_of(tiny_model_dir)
    again = pickle.loads(pickle.dumps(encoder))
    assert again.encode([Example(messages=TALK)]) == encoder.encode([Example(messages=TALK)])


def test_loss_on_padding_is_declined():
    plan = make_plan({"ignore_pad_token_for_loss": False}, components=["stage:sft", "trainer:transformers"])
    assert [p.message for p in plan.problems if "padding" in p.message] == [
        "ignore_pad_token_for_loss: padding never carries loss here"
    ]


ROWS = [
    {"instruction": f"say {'hello ' * (n % 5)}{n}", "output": f"the answer is {'lazy ' * (n % 7)}{n}"}
    for n in range(20)
]
STEPS, GLOBAL_BATCH, RATE = 6, 8, 5e-3
"""Two epochs; the last global batch of each has 4 rows."""


def plain_loop(folder):
    """From text to final weights without any of our code but the tiny model: one row at a time, full logits."""
    tokenizer, model = tiny_tokenizer(), tiny_llama(dtype=torch.float64, seed=3)
    rows = []
    for row in ROWS:
        prompt = f"<|im_start|>user\n{row['instruction']}<|im_end|>\n<|im_start|>assistant\n"
        prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer_ids = tokenizer(f"{row['output']}<|im_end|>\n", add_special_tokens=False)["input_ids"]
        rows.append((prompt_ids, answer_ids))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    losses, epoch = [], 0
    while len(losses) < STEPS:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(42 + epoch)).tolist()
        for at in range(0, len(rows), GLOBAL_BATCH):
            batch = [rows[i] for i in order[at : at + GLOBAL_BATCH]]
            n = sum(len(answer) for _, answer in batch)
            loss = torch.zeros((), dtype=torch.float64)
            for prompt, answer in batch:
                logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
                loss = loss + F.cross_entropy(logits, torch.tensor(answer), reduction="sum") / n
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        epoch += 1
    return losses, dict(model.named_parameters())


@checked(stage="sft", loss="a whole run", against="a plain float64 loop from text to weights, to 1e-9")
@pytest.mark.parametrize(("batch", "accumulation"), [(8, 1), (4, 2), (1, 8)])
def test_a_run_from_its_config_equals_a_plain_loop_to_1e_9(tmp_path, batch, accumulation):
    model_dir = tmp_path / "model"
    tiny_llama(dtype=torch.float64, seed=3).save_pretrained(model_dir)
    tiny_tokenizer(chat_template=None).save_pretrained(model_dir)
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    keys = {
        "stage": "sft",
        "finetuning_type": "full",
        "model_name_or_path": str(model_dir),
        "model_dtype": "float64",
        "template": "chatml",
        "dataset": str(tmp_path / "rows.json"),
        "output_dir": str(tmp_path / "out"),
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "max_steps": STEPS,
        "logging_steps": 1,
        "save_strategy": "no",
    }
    start(make_run(keys))
    expected, parameters = plain_loop(tmp_path)
    log = map(json.loads, (tmp_path / "out" / "trainer_log.jsonl").read_text().splitlines())
    assert [entry["loss"] for entry in log] == pytest.approx(expected, rel=0, abs=1e-9)
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert "im_start" in (tmp_path / "out" / "chat_template.jinja").read_text()
    for name, parameter in parameters.items():
        torch.testing.assert_close(saved[name], parameter.detach(), rtol=0, atol=1e-9)
