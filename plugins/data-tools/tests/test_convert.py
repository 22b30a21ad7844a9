"""Converting: what is written is read as the same examples; checking: every unusable row is named."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_plugin_data_tools.convert import converted
from ft_plugin_data_tools.openai import OpenAIWriter
from ft_plugin_data_tools.reading import kind_of
from ft_plugin_data_tools.writing import GROUP
from ftk.contracts import DatasetSpec, Example
from ftk_sdk.testing import make_run

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
blank = st.sampled_from(["", " ", None])
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)
# Names that roles of some format have by default are the ones that may collide.
others = st.dictionaries(
    st.sampled_from(["id", "prompt", "messages", "text", "system", "label", "kto_tag", "images", "response"]),
    json_value,
    max_size=3,
)
media = st.fixed_dictionaries({}, optional={kind: st.lists(text, max_size=2) for kind in ("images", "audios")})
call = st.builds(
    lambda name, arguments: {"name": name, "arguments": arguments}, text, st.dictionaries(text, json_value, max_size=2)
)
tools = st.lists(st.builds(lambda name, p: {"name": name, "parameters": p}, text, json_value), max_size=2)


def formatter(name, **more):
    spec = DatasetSpec(name="d", source="local", location="d.json", formatting=name, **more)
    return make_run({}, components=[f"format:{name}"]).formatter(spec)


@pytest.fixture(scope="module")
def formats():
    return cache(formatter)


def comes_back(example: Example) -> None:
    """The property: what is written, and read as its entry says, is the example."""
    kind = kind_of(example).removesuffix(" with a verdict")
    writer = OpenAIWriter(kind, example.columns)
    read = formatter(
        **{"name": writer.entry["formatting"]} | {k: v for k, v in writer.entry.items() if k != "formatting"}
    )
    line = converted(example, writer, read)
    assert "\n" not in line
    assert read(json.loads(line)) == example


def turns(draw, *, ask, answer, calls, results):
    """A conversation that every format takes: questions, calls with their results, answers."""
    out = []
    for _ in range(draw(st.integers(1, 2))):
        out.append(ask(draw(text)))
        if draw(st.booleans()):
            out.append(calls(draw(st.lists(call, min_size=1, max_size=2))))
            out += [results(draw(text)) for _ in range(draw(st.integers(1, 2)))]
        out.append(answer(draw(text)))
    return out


@st.composite
def alpaca(draw):
    row = {"instruction": draw(text), "input": draw(blank | text), "output": draw(text), "system": draw(blank | text)}
    row["history"] = draw(st.none() | st.lists(st.tuples(text, text).map(list), max_size=2))
    row["tools"] = draw(st.none() | tools.map(json.dumps))
    row["kto_tag"] = draw(st.sampled_from([None, True, False]))
    return row | draw(media)


@st.composite
def sharegpt(draw):
    def speaker(role):
        return lambda value: {"from": role, "value": value}

    row = {
        "conversations": turns(
            draw,
            ask=speaker("human"),
            answer=speaker("gpt"),
            calls=lambda calls: {"from": "function_call", "value": json.dumps(calls)},
            results=speaker("observation"),
        ),
        "system": draw(blank | text),
        "tools": draw(st.none() | tools.map(json.dumps)),
    }
    return row | draw(media)


@st.composite
def openai(draw):
    def part(kind, value):
        return {"type": kind, kind: value}

    parts = st.lists(
        st.builds(part, st.just("text"), text) | st.builds(part, st.sampled_from(["image", "audio"]), text),
        min_size=1,
        max_size=3,
    )

    def said(role, content, **more):
        extra = {k: v for k, v in more.items() if draw(st.booleans())}
        return {"role": role, "content": content, **extra}

    row = {
        "messages": turns(
            draw,
            ask=lambda value: said("user", draw(st.just(value) | parts)),
            answer=lambda value: said("assistant", value, reasoning_content=draw(text), weight=draw(st.floats(0, 2))),
            calls=lambda calls: {
                "role": "assistant",
                "content": draw(blank),
                "tool_calls": [{"function": c} for c in calls],
            },
            results=lambda value: said("tool", value, tool_call_id=draw(text), name=draw(text)),
        ),
        "tools": draw(tools),
        "kto_tag": draw(st.sampled_from([None, True, False])),
    }
    if draw(st.booleans()):
        row["messages"].insert(0, {"role": "system", "content": draw(text)})
    return row | draw(media)


ROWS = {
    "alpaca": (alpaca(), "instruction"),
    "sharegpt": (sharegpt(), "conversations"),
    "openai": (openai(), "messages"),
}
USED = {
    "alpaca": {"system", "kto_tag", "images", "audios"},
    "sharegpt": {"system", "kto_tag", "images", "audios"},
    "openai": {"messages", "prompt", "system", "kto_tag", "images", "audios"},
}
few = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("name", ROWS)
def test_conversations_come_back_as_they_were(name, formats):
    @few
    @given(row=ROWS[name][0], more=others)
    def check(row, more):
        more = {key: value for key, value in more.items() if key not in USED[name]}
        comes_back(formats(name)(more | row))

    check()


def test_texts_come_back_as_they_were():
    read = formatter("alpaca", columns={"prompt": "content"})

    @few
    @given(prompt=text, more=others, pictures=media)
    def check(prompt, more, pictures):
        columns = {key: value for key, value in more.items() if key not in USED["alpaca"]}
        example = read({**columns, **pictures, "content": prompt})
        assert (example.text, example.messages) == (prompt, ())
        comes_back(example)

    check()


@few
@given(row=alpaca(), more=others)
def test_prompts_without_answers_come_back_as_they_were(formats, row, more):
    more = {key: value for key, value in more.items() if key not in USED["alpaca"] | {"output"}}
    row = {key: value for key, value in row.items() if key not in ("output", "kto_tag")}
    example = formats("alpaca")(more | row)
    assert example.text == example.messages[-1]["content"]
    comes_back(example)


@pytest.mark.parametrize("name", ["alpaca", "sharegpt", "openai"])
def test_pairs_come_back_as_they_were(name, formats):
    @few
    @given(row=ROWS[name][0], good=text, bad=text, tail=st.booleans(), more=others)
    def check(row, good, bad, tail, more):
        more = {key: value for key, value in more.items() if key not in USED[name]}
        row = {k: v for k, v in row.items() if k != "kto_tag"} | {"chosen": good, "rejected": bad}
        if name == "sharegpt":
            row["conversations"] = row["conversations"][:-1]
            if row["conversations"][-1]["from"] == "human" and tail:  # both answers begin with one call
                start = [{"from": "function_call", "value": '{"name": "f"}'}, {"from": "observation", "value": "x"}]
                row |= {"chosen": [*start, {"from": "gpt", "value": good}]}
                row |= {"rejected": [*start, {"from": "gpt", "value": bad}]}
        if name == "openai":
            row["messages"] = row["messages"][:-1]
        comes_back(formats(name, ranking=True)(more | row))

    check()


# The command


TALK = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}]
GOOD, BAD = {"instruction": "hello", "output": "world"}, {"instruction": "hello", "output": ""}


def lines(path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_files_become_one_file_that_needs_no_entry(ftk, write):
    write(GOOD, name="a.jsonl")
    write({"conversations": [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "world"}]}, name="b.jsonl")
    code, out, err = ftk("data", "convert", "a.jsonl", "b.jsonl", "--to", "openai", "-o", "all.jsonl")
    assert (code, out) == (0, "") and "wrote all.jsonl: 2 conversations" in err
    assert lines("all.jsonl") == [{"messages": TALK}] * 2


def test_without_an_output_rows_go_to_stdout(ftk, write):
    write(GOOD, name="a.jsonl")
    code, out, _ = ftk("data", "convert", "a.jsonl", "--to", "openai")
    assert code == 0 and json.loads(out) == {"messages": TALK}


def test_names_of_a_registry_are_read_as_it_says(ftk, write, tmp_path):
    write({"q": "hello", "a": "world"}, name="rows.jsonl")
    entry = {"file_name": "rows.jsonl", "columns": {"prompt": "q", "response": "a"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    code, out, _ = ftk("data", "convert", "mine", "--dataset-dir", ".", "--to", "openai")
    assert code == 0 and json.loads(out) == {"messages": TALK}
    words = ["--format", "alpaca", "--column", "prompt=q", "--column", "response=a"]
    code, out, _ = ftk("data", "convert", "rows.jsonl", *words, "--to", "openai")
    assert code == 0 and json.loads(out) == {"messages": TALK}


def test_the_registry_entry_says_how_what_was_written_is_read(ftk, write, tmp_path):
    write({"instruction": "hello", "output": "world", "messages": 3}, name="a.jsonl")
    words = ["data", "convert", "a.jsonl", "--format", "alpaca", "--to", "openai", "-o", "out.jsonl"]
    code, _, err = ftk(*words)
    assert code == 0 and "its columns do not tell how it is read" in err
    code, out, _ = ftk(*words, "--registry", "--force")
    assert code == 0
    (tmp_path / "dataset_info.json").write_text(out)
    code, out, _ = ftk("data", "convert", "out", "--dataset-dir", ".", "--to", "openai")
    assert lines("out.jsonl") == [json.loads(out)] == [{"messages_": TALK, "messages": 3}]


def test_an_unusable_row_stops_it_unless_allowed(ftk, write, tmp_path):
    write(GOOD, BAD, GOOD, name="a.jsonl")
    words = ["data", "convert", "a.jsonl", "--to", "openai", "-o", "out.jsonl"]
    code, _, err = ftk(*words)
    assert code == 1 and "1 of 3 rows cannot be converted; nothing was written" in err
    assert "empty answer: column 'output' is empty (a.jsonl:2)" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "run.yaml"]
    code, _, err = ftk(*words, "--max-drop", "1")
    assert code == 0 and "a.jsonl:2" in err and len(lines("out.jsonl")) == 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["a.jsonl", "--to", "csv"], 2, "--to csv: no package writes this\n    installed: openai"),
        (["nothing.jsonl", "--to", "openai"], 2, "dataset 'nothing.jsonl': no such file or folder"),
        (["a.jsonl", "pairs.jsonl", "--to", "openai"], 1, "the data holds 2 conversations and 1 pairs"),
        (["a.jsonl", "--to", "openai", "-o", "a.jsonl"], 2, "a.jsonl exists"),
        (["a.jsonl", "--to", "openai", "-o", "no/x.jsonl"], 1, "cannot write no/x.jsonl: No such file or directory"),
        (["broken.jsonl", "--to", "openai"], 2, "broken.jsonl:2: "),
        (["a.jsonl", "--to", "openai", "--max-drop", "x"], 2, "max_drop='x' is neither a number"),
        (["a.jsonl", "--to", "openai", "--column", "prompt=q"], 2, "--column and --ranking belong to a format"),
        (["a.jsonl", "--to", "openai", "--format", "alpaca", "--column", "q"], 2, "is not of the form ROLE=NAME"),
        (["a.jsonl", "--to", "openai", "--format", "alpaca", "--column", "q=r"], 1, "unknown role 'q'"),
        (["a.jsonl", "--to", "openai", "--format", "nothing"], 2, "no plugin offers format:nothing"),
        (["a.jsonl"], 2, "Missing option '--to'"),
    ],
)
def test_a_call_that_cannot_be_met_is_said_so(ftk, write, tmp_path, words, code, message):
    write(GOOD, GOOD, name="a.jsonl")
    write({"prompt": "q", "chosen": "a", "rejected": "b"}, name="pairs.jsonl")
    (tmp_path / "broken.jsonl").write_text(json.dumps(GOOD) + '\n{"instruction": \n')
    found = ftk("data", "convert", *words)
    assert found[0] == code and message in found[2]


def test_a_package_can_bring_a_writer(ftk, write, tmp_path, monkeypatch):
    (tmp_path / "lines_writer.py").write_text(
        "class Lines:\n"
        "    def __init__(self, kind, others):\n"
        "        self.entry = {'formatting': 'alpaca'}\n"
        "    def row(self, example):\n"
        "        question, answer = example.messages\n"
        "        return {'instruction': question['content'], 'output': answer['content']}\n"
    )
    info = tmp_path / "lines_writer-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lines-writer\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nlines = lines_writer:Lines\n")
    monkeypatch.syspath_prepend(tmp_path)
    write({"messages": TALK}, name="a.jsonl")
    code, out, err = ftk("data", "convert", "a.jsonl", "--to", "lines")
    assert code == 0, err
    assert json.loads(out) == GOOD


# validate


def test_data_without_a_config_is_checked_by_its_format(ftk, write):
    write(GOOD, BAD, {"instruction": "x", "output": 3}, name="a.jsonl")
    code, out, _ = ftk("data", "validate", "a.jsonl")
    assert code == 1
    assert out.splitlines()[:2] == [
        "a.jsonl:2: empty answer: column 'output' is empty",
        "a.jsonl:3: column 'output' is a number, not text",
    ]
    assert "1 conversations" in out
    assert ftk("data", "validate", "a.jsonl", "--max-drop", "2")[0] == 0
    assert ftk("data", "validate", "a.jsonl", "--max-drop", "1%")[0] == 1


def test_a_config_is_checked_by_its_stage_too(ftk, write):
    write({"messages": TALK}, {"messages": TALK[:1]}, name="rows.jsonl")
    assert ftk("data", "validate", "rows.jsonl")[0] == 0
    code, out, _ = ftk("data", "validate", "run.yaml")
    assert code == 1 and out.startswith("rows.jsonl:2: ")
    code, out, _ = ftk("data", "validate", "run.yaml", "--json")
    (account,) = json.loads(out)
    assert (account["rows"], account["kept"], account["dropped"]) == (2, 1, 1)
    assert account["faults"][0]["place"] == "rows.jsonl:2" and account["tokens"] > account["loss_tokens"] > 0


def test_a_config_without_a_usable_row_says_so_in_the_same_words(ftk, write):
    write({"messages": TALK[:1]}, name="rows.jsonl")
    code, out, _ = ftk("data", "validate", "run.yaml")
    assert code == 1 and "rows.jsonl     1     0        1" in out


def test_many_faults_are_listed_on_request(ftk, write):
    write(*[BAD] * 30, GOOD, name="a.jsonl")
    _, out, _ = ftk("data", "validate", "a.jsonl")
    assert "... and 10 more of a.jsonl: --all lists them" in out and "a.jsonl:21:" not in out
    _, out, _ = ftk("data", "validate", "a.jsonl", "--all")
    assert "a.jsonl:30:" in out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nothing.jsonl"], 2, "dataset 'nothing.jsonl': no such file or folder"),
        (["a.jsonl", "seed=1"], 2, "overrides go with a config"),
        (["run.yaml"], 2, "dataset 'rows.jsonl': no such file or folder"),
        (["broken.jsonl"], 2, "broken.jsonl:1: "),
        (["odd.jsonl"], 2, "no format is known for the columns x"),
        (["a.jsonl", "--max-drop", "-1"], 2, "max_drop='-1' is neither"),
    ],
)
def test_what_cannot_be_checked_is_said_so(ftk, write, tmp_path, words, code, message):
    write(GOOD, name="a.jsonl")
    write({"x": 1}, name="odd.jsonl")
    (tmp_path / "broken.jsonl").write_text('{"instruction": \n')
    found = ftk("data", "validate", *words)
    assert found[0] == code and message in found[2]
