"""``ftk data`` on every stage: nothing in it knows them."""

from __future__ import annotations

import json

import pytest

from ftk.cli.main import main

TALK = [{"role": "user", "content": "what is 1 and 2"}, {"role": "assistant", "content": "3 said the fox"}]
PAIR = {"messages": TALK[:1], "chosen": TALK[1:], "rejected": [{"role": "assistant", "content": "4"}]}
ROWS = {
    "sft": [{"messages": TALK}],
    "pt": [{"text": "the quick brown fox"}],
    **{key: [PAIR] for key in ["dpo", "orpo", "simpo", "cpo", "rm"]},
    **{key: [{"messages": TALK, "kto_tag": tag} for tag in (True, False)] for key in ["kto", "bco"]},
    **{key: [{"messages": TALK}] for key in ["grpo", "rloo"]},
}
SCORED = {"dpo": "3 said the fox<|im_end|>\n4<|im_end|>\n", "sft": "3 said the fox<|im_end|>\n", "grpo": ""}
MORE = {"grpo": ["reward_funcs=length"], "rloo": ["reward_funcs=length"]}


@pytest.mark.parametrize("stage", ROWS)
def test_every_stage_can_be_looked_at_counted_and_checked(stage, tiny_model_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[stage]))
    (tmp_path / "run.yaml").write_text(
        f"model_name_or_path: {tiny_model_dir}\ntemplate: chatml\nstage: {stage}\ndataset: rows.jsonl\n"
    )

    def result(command):
        with pytest.raises(SystemExit) as stopped:
            main(["data", command, "run.yaml", "--json", *MORE.get(stage, [])])
        out, err = capsys.readouterr()
        assert not stopped.value.code, err
        return json.loads(out)

    sequences = [sequence for row in result("show") for sequence in row["sequences"]]
    counted = result("stats")
    (account,) = result("validate")
    assert account["kept"] == len(ROWS[stage]) == counted["datasets"][0]["kept"]
    assert counted["tokens"]["sum"] > 0 and sequences
    for sequence in sequences:
        trained = "".join(t for t, w in zip(sequence["text"], sequence["weight"], strict=True) if w)
        assert trained == SCORED.get(stage, trained)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "run.yaml"]
