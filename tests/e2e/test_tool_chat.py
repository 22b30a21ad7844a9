"""A model that calls a tool, from its weights to what ``ftk chat`` prints."""

from __future__ import annotations

import json

import pytest
import torch

from ftk_sdk.tiny import tiny_llama, tiny_tokenizer

TEMPLATE = """\
{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\\n' + (m.content or '') }}
{%- for c in m.tool_calls or [] %}
{{- '<tool_call>\\n' + {'name': c.function.name, 'arguments': c.function.arguments} | tojson + '\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{{- '<|im_start|>assistant\\n' if add_generation_prompt }}
{#- It shows no tools. #}"""
CALL = '<tool_call>\n{"name": "get-weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
TOOLS = [{"name": "get-weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]


@pytest.fixture(scope="module")
def caller(tmp_path_factory):
    """A folder with a tiny model that has learned by heart to look first and then to call."""
    folder = tmp_path_factory.mktemp("caller")
    tokenizer, model = tiny_tokenizer(TEMPLATE), tiny_llama()
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Oslo?"}], add_generation_prompt=True, tokenize=False
    )
    start = len(tokenizer(prompt)["input_ids"])
    ids = torch.tensor([tokenizer(f"{prompt}I look.\n{CALL}<|im_end|>")["input_ids"]])
    labels = ids.clone()
    labels[:, :start] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_chat_shows_what_a_model_calls(ftk, caller, tmp_path):
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    words = ("chat", caller, "do_sample=false", "--prompt", "Oslo?", "--tools", "tools.json")
    done = ftk(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'I look.\ncalls get-weather {"city": "Oslo"}\n'
    assert "tool calls are read as those of 'qwen'" in done.stderr

    made = json.loads(ftk(*words, "--json").stdout)
    (call,) = made["message"]["tool_calls"]
    assert made["answer"] == "I look." and made["problems"] == []
    assert call["function"] == {"name": "get-weather", "arguments": {"city": "Oslo"}}


def test_chat_refuses_a_parser_that_does_not_fit_and_tools_that_are_none(ftk, caller, tmp_path):
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    words = ("chat", caller, "--prompt", "Oslo?", "--tools")
    done = ftk(*words, "tools.json", "tool_format=lfm2")
    assert done.returncode == 1 and "tool_format='lfm2' does not read the tool calls" in done.stderr
    done = ftk(*words, "none.json")
    assert done.returncode == 2 and "none.json" in done.stderr and "Traceback" not in done.stderr
