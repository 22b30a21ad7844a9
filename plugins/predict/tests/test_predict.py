import json

import pytest

from ft_plugin_predict import plugin
from ft_plugin_predict.predict import in_order
from ft_plugin_predict.scores import scores
from ft_plugin_trainer.encoding import last_answer
from ftk.execute import start
from ftk.problems import ConfigError
from ftk_sdk.contracts import PluginContract
from ftk_sdk.testing import make_plan, make_run

ROWS = [{"instruction": f"say {'hello ' * (n % 3)}{n}", "output": f"the answer is {n}"} for n in range(7)]


class TestPlugin(PluginContract):
    plugin = plugin


def predicted(model_dir, folder, **keys):
    folder.mkdir(exist_ok=True)
    (folder / "rows.json").write_text(json.dumps(ROWS))
    settings = {
        "model_name_or_path": str(model_dir),
        "template": "chatml",
        "finetuning_type": "full",
        "eval_dataset": str(folder / "rows.json"),
        "output_dir": str(folder / "out"),
        "max_new_tokens": 6,
        "do_sample": False,
        "per_device_eval_batch_size": 3,
    }
    run = make_run(settings | keys)
    return run, start(run)


def lines(folder, name="generated_predictions.jsonl"):
    return [json.loads(line) for line in (folder / "out" / name).read_text(encoding="utf-8").splitlines()]


def test_do_predict_alone_writes_prompts_answers_and_labels_and_trains_nothing(tiny_model_dir, tmp_path):
    _, result = predicted(tiny_model_dir, tmp_path, do_predict=True)
    rows = lines(tmp_path)
    assert [row["label"] for row in rows] == [row["output"] for row in ROWS]
    for row, wanted in zip(rows, ROWS, strict=True):
        prompt = f"<|im_start|>user\n{wanted['instruction']}<|im_end|>\n<|im_start|>assistant\n"
        assert row.keys() == {"prompt", "predict", "label"} and row["prompt"] == prompt
    assert not (tmp_path / "out" / "model.safetensors").exists()
    metrics = json.loads((tmp_path / "out" / "predict_results.json").read_text())
    for name in ("bleu-4", "rouge-1", "rouge-2", "rouge-l", "exact-match"):
        expected = sum(100 * scores(row["predict"], row["label"])[name] for row in rows) / len(rows)
        assert metrics[f"predict_{name}"] == pytest.approx(expected, abs=1e-4)
    assert "predict_loss" in metrics
    assert result.artifacts[0].path == tmp_path / "out" / "generated_predictions.jsonl"


def test_answers_are_those_of_the_model_alone_whatever_the_batch(tiny_model_dir, tmp_path):
    predicted(tiny_model_dir, tmp_path / "three", do_predict=True)
    predicted(tiny_model_dir, tmp_path / "one", do_predict=True, per_device_eval_batch_size=1)
    assert lines(tmp_path / "three") == lines(tmp_path / "one")
    chat = make_run(
        {
            "model_name_or_path": str(tiny_model_dir),
            "template": "chatml",
            "finetuning_type": "full",
            "max_new_tokens": 6,
            "do_sample": False,
        },
        action="chat",
    ).engine()
    for row, wanted in zip(lines(tmp_path / "three"), ROWS, strict=True):
        answer = "".join(chat.stream([{"role": "user", "content": wanted["instruction"]}]))
        assert row["predict"] == answer.strip()


def test_beams_and_lengths_of_their_own(tiny_model_dir, tmp_path):
    predicted(tiny_model_dir, tmp_path / "greedy", do_predict=True)
    predicted(tiny_model_dir, tmp_path / "beams", do_predict=True, eval_num_beams=4)
    assert lines(tmp_path / "greedy") != lines(tmp_path / "beams")


def test_sampling_is_the_same_with_the_same_seed(tiny_model_dir, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        predicted(tiny_model_dir, tmp_path / name, do_predict=True, do_sample=True, temperature=5.0, seed=seed)
    assert lines(tmp_path / "a") == lines(tmp_path / "b") != lines(tmp_path / "c")


def test_predict_with_generate_scores_every_evaluation_and_leaves_training_alone(tiny_model_dir, tmp_path):
    keys = {
        "do_train": True,
        "max_steps": 4,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "logging_steps": 1,
        "save_strategy": "no",
        "learning_rate": 1e-2,
    }
    losses = []
    for name, switch in (("with", True), ("without", False)):
        data = tmp_path / name / "rows.json"
        predicted(tiny_model_dir, tmp_path / name, dataset=str(data), predict_with_generate=switch, **keys)
        log = [json.loads(line) for line in (tmp_path / name / "out" / "trainer_log.jsonl").read_text().splitlines()]
        losses.append([entry["loss"] for entry in log if "loss" in entry])
        scored = [entry for entry in log if "eval_rouge-l" in entry]
        assert len(scored) == (2 if switch else 0)
    assert losses[0] == losses[1]
    assert not (tmp_path / "with" / "out" / "generated_predictions.jsonl").exists()


def test_held_back_rows_are_predicted_too(tiny_model_dir, tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    keys = {"dataset": str(tmp_path / "rows.json"), "val_size": 3, "eval_dataset": None, "do_predict": True}
    predicted(tiny_model_dir, tmp_path, do_train=True, max_steps=1, save_strategy="no", **keys)
    assert len(lines(tmp_path)) == 3


def test_each_evaluation_set_has_its_own_file_when_asked_for(tiny_model_dir, tmp_path):
    tmp_path.joinpath("a.json").write_text(json.dumps(ROWS[:2]))
    tmp_path.joinpath("b.json").write_text(json.dumps(ROWS[2:]))
    both = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    predicted(tiny_model_dir, tmp_path, do_predict=True, eval_dataset=both, eval_on_each_dataset=True)
    counts = [len(path.read_text().splitlines()) for path in (tmp_path / "out").glob("generated_predictions_*.jsonl")]
    assert sorted(counts) == [2, 5]


def test_the_last_answer_is_what_is_asked_for():
    ids, labels = list(range(10)), [-100, 1, 2, -100, -100, 5, 6, 7, -100, -100]
    assert last_answer(ids, labels) == ([0, 1, 2, 3, 4], [5, 6, 7])
    assert last_answer([1, 2], [1, 2]) == ([], [1, 2])


def test_rows_of_processes_come_back_in_the_order_of_the_data():
    batches = [[{"n": n}] for n in range(5)]
    assert in_order([batches[::2], batches[1::2]]) == [{"n": n} for n in range(5)]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"do_predict": True}, "do_predict is set, but there is no evaluation data"),
        ({"do_predict": True, "eval_dataset": "x", "train_on_prompt": True}, "nothing tells where it begins"),
        ({"predict_with_generate": True, "stage": "pt"}, "raw text holds no answers"),
        ({"predict_with_generate": True, "generation_max_length": 0}, "generation_max_length=0 is not positive"),
    ],
)
def test_what_cannot_be_predicted_is_an_error(keys, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(keys)
