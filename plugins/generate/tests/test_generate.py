import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import peft
import pytest
import torch

from ft_plugin_generate import plugin
from ft_plugin_generate.engine import HfEngine, arguments_of
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import EngineContract, PluginContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer

QUESTION = [{"role": "user", "content": "What is your name?"}]
PARTS = ("loader:hf", "template:auto", "adapter:lora", "engine:hf")


class TestPlugin(PluginContract):
    plugin = plugin


class TestEngine(EngineContract):
    component = "engine:hf"


@pytest.fixture
def make_engine(tiny_model_dir):
    def make(**keys) -> HfEngine:
        keys = {"model_name_or_path": str(tiny_model_dir), "max_new_tokens": 24, **keys}
        return make_run(keys, components=PARTS, action="chat").engine()

    return make


def answer(engine, messages=QUESTION, **generation) -> str:
    return "".join(engine.stream(messages, **generation))


def expected(engine, **arguments) -> str:
    """The answer by transformers' own generate, in one call."""
    ids = torch.tensor([engine.template.encode_prompt(QUESTION)])
    eos = engine.tokenizer.eos_token_id
    out = engine.model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=3, eos_token_id=eos, **arguments)
    return engine.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def test_greedy_answers_are_those_of_generate(make_engine):
    engine = make_engine(do_sample=False)
    assert answer(engine) == expected(engine, do_sample=False, max_new_tokens=24) != ""


def test_sampled_answers_are_those_of_generate_with_the_same_seed(make_engine):
    engine = make_engine(temperature=1.2, top_p=0.9, top_k=40, seed=7)
    torch.manual_seed(7)
    wanted = expected(engine, do_sample=True, temperature=1.2, top_p=0.9, top_k=40, max_new_tokens=24)
    assert answer(engine) == wanted


def test_beam_search_answers_are_those_of_generate(make_engine):
    engine = make_engine(do_sample=False, num_beams=3, length_penalty=0.5)
    wanted = expected(engine, do_sample=False, num_beams=3, length_penalty=0.5, max_new_tokens=24)
    assert answer(engine) == wanted != ""


def test_the_same_seed_gives_the_same_answer_and_another_one_another(make_engine):
    engine = make_engine(temperature=2.0, top_p=1.0)
    assert answer(engine, seed=1) == answer(engine, seed=1)
    assert answer(engine, seed=1) != answer(engine, seed=2)
    assert answer(engine) == answer(engine, seed=42), "the run's seed"


def test_an_answer_leaves_the_random_numbers_of_the_process_alone(make_engine):
    engine = make_engine()
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    answer(engine)
    assert torch.equal(torch.rand(3), wanted)


def test_without_the_cache_the_answer_is_the_same(make_engine):
    assert answer(make_engine(do_sample=False)) == answer(make_engine(do_sample=False, use_kv_cache=False))


def forced(engine, tokens: list[int]) -> None:
    """Let the model say these tokens, whatever it is asked, and then the first one again."""
    prompt = len(engine.template.encode_prompt(QUESTION))
    vocabulary = engine.model.config.vocab_size

    def say(module, args, kwargs, output):
        at = kwargs["cache_position"][-1] if kwargs.get("cache_position") is not None else kwargs["position_ids"][0, -1]
        said = int(at) - prompt + 1
        output.logits[:, -1] = torch.nn.functional.one_hot(torch.tensor(tokens[said % len(tokens)]), vocabulary) * 50.0
        return output

    engine.model.register_forward_hook(say, with_kwargs=True)


def test_an_answer_ends_at_any_of_the_templates_stop_tokens(make_engine):
    engine = make_engine(do_sample=False)
    text = engine.tokenizer.encode("hello world")
    for stop in ("<|im_end|>", "<|endoftext|>"):
        engine.template.stop = ("<|im_end|>", "<|endoftext|>")
        engine = HfEngine(engine.model, engine.tokenizer, engine.template, engine._defaults)
        engine.model._forward_hooks.clear()
        forced(engine, [*text, engine.tokenizer.convert_tokens_to_ids(stop)])
        assert answer(engine, skip_special_tokens=False) == "hello world"


def test_an_answer_ends_at_a_stop_string_of_several_tokens(make_engine):
    engine = make_engine(do_sample=False)
    engine.template.stop = ("<|im_end|>", "</answer>")
    engine = HfEngine(engine.model, engine.tokenizer, engine.template, engine._defaults)
    forced(engine, engine.tokenizer.encode("hello world</answer> and more"))
    assert answer(engine) == "hello world"


def test_stop_strings_can_be_given_for_one_call(make_engine):
    engine = make_engine(do_sample=False, max_new_tokens=8)
    forced(engine, engine.tokenizer.encode("hello world and more"))
    assert answer(engine, stop=[" and"]) == "hello world"
    assert answer(engine).startswith("hello world and")


def test_control_tokens_are_shown_only_when_asked_for(make_engine):
    engine = make_engine(do_sample=False, max_new_tokens=6)
    text = engine.tokenizer.encode("hi<|im_start|>you")
    forced(engine, text)
    assert answer(engine, max_new_tokens=len(text)) == "hiyou"
    assert answer(engine, max_new_tokens=len(text), skip_special_tokens=False) == "hi<|im_start|>you"


def test_leaving_an_answer_ends_its_computation(make_engine):
    engine = make_engine(do_sample=False, max_new_tokens=400)
    forced(engine, engine.tokenizer.encode("a b c d e f"))
    pieces = engine.stream(QUESTION)
    next(pieces)
    assert "ftk answer" in {thread.name for thread in threading.enumerate()}
    pieces.close()
    assert "ftk answer" not in {thread.name for thread in threading.enumerate()}


def test_an_error_of_the_computation_reaches_the_reader(make_engine):
    engine = make_engine()
    engine.model.forward = None
    with pytest.raises(TypeError):
        answer(engine)


def test_an_unknown_generation_key_is_an_error(make_engine):
    with pytest.raises(RunError, match="no generation key temperatur"):
        answer(make_engine(), temperatur=1)


def test_a_conversation_that_the_template_refuses_is_an_error(make_engine):
    with pytest.raises(RunError, match="the template cannot take this conversation"):
        answer(make_engine(), [{"role": "user", "content": "hi"}, {"role": "nobody", "content": "hi"}])


def test_a_conversation_longer_than_the_model_takes_is_an_error(make_engine):
    with pytest.raises(RunError, match=r"the conversation has \d+ tokens, and the model takes 512"):
        answer(make_engine(), [{"role": "user", "content": "hello " * 600}])


def settings(**own):
    defaults = {"do_sample": True, "temperature": 0.5, "top_p": 0.7, "top_k": 5, "num_beams": 1, "length_penalty": 1.0}
    return {**defaults, "max_length": 100, "max_new_tokens": 50, **own}


def test_only_arguments_that_matter_are_passed_on():
    greedy = arguments_of(settings(do_sample=False), 10, None)
    assert greedy == {"do_sample": False, "num_beams": 1, "max_new_tokens": 50}
    assert arguments_of(settings(num_beams=2), 10, None)["length_penalty"] == 1.0


def test_the_length_of_an_answer_keeps_to_what_the_model_takes():
    assert arguments_of(settings(), 10, 40)["max_new_tokens"] == 30
    assert arguments_of(settings(max_new_tokens=0), 10, None)["max_new_tokens"] == 90
    with pytest.raises(RunError, match="max_length is 100"):
        arguments_of(settings(max_new_tokens=0), 100, None)


def test_max_length_counts_when_it_alone_is_set(make_engine, tiny_model_dir):
    keys = {"model_name_or_path": str(tiny_model_dir), "do_sample": False, "max_length": 30}
    engine = make_run(keys, components=PARTS, action="chat").engine()
    prompt = len(engine.template.encode_prompt(QUESTION))
    assert answer(engine) == expected(engine, do_sample=False, max_new_tokens=30 - prompt)


@pytest.mark.parametrize(
    "keys", [{"temperature": 0}, {"top_p": 0}, {"top_k": -1}, {"num_beams": 0}, {"repetition_penalty": 0}]
)
def test_values_that_cannot_work_are_refused_when_planning(keys):
    with pytest.raises(ConfigError, match=next(iter(keys))):
        make_plan(keys, components=["engine:hf"], action="chat")


def test_the_old_name_of_the_back_end_is_understood(tiny_model_dir):
    keys = {"infer_backend": "huggingface", "model_name_or_path": str(tiny_model_dir)}
    assert "engine:hf" in make_plan(keys, action="chat")


def test_greedy_answers_cause_no_warnings_about_what_the_models_author_recommends(make_engine, caplog):
    engine = make_engine(do_sample=False)
    engine.model.generation_config.temperature = 0.6
    engine.model.generation_config.top_p = 0.95
    engine = HfEngine(engine.model, engine.tokenizer, engine.template, engine._defaults)
    with caplog.at_level(logging.WARNING):
        answer(engine)
    assert not caplog.records


def ftk(*words, text: str | None = None, **own) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **own}
    command = [sys.executable, "-m", "ftk.cli.main", *map(str, words)]
    return subprocess.run(command, input=text, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture
def trained(tmp_path, tiny_model_dir):
    """The output folder of a run that trained an adapter, and what the adapted model answers."""
    model = peft.get_peft_model(tiny_llama(), peft.LoraConfig(target_modules=["q_proj", "lm_head"]))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2
    model.save_pretrained(tmp_path / "out")
    keys = {"model_name_or_path": str(tiny_model_dir), "do_sample": False, "max_new_tokens": 12}
    (tmp_path / "out" / "plan.json").write_text(json.dumps({"config": keys}))
    run = make_run({**keys, "output_dir": str(tmp_path / "out")}, components=PARTS, action="chat")
    return tmp_path / "out", answer(run.engine())


def test_chat_answers_one_question_on_standard_output_and_nothing_else(trained):
    folder, wanted = trained
    done = ftk("chat", folder, "--prompt", QUESTION[0]["content"])
    assert done.returncode == 0, done.stderr
    assert done.stdout == wanted + "\n"
    assert f"adapter: {folder}" in done.stderr


def test_chat_holds_a_conversation_over_a_pipe(tiny_model_dir, make_engine):
    keys = ("do_sample=false", "max_new_tokens=8")
    done = ftk("chat", tiny_model_dir, *keys, text="hello\nwho?\nclear\nhello\nexit\nnever\n")
    assert done.returncode == 0, done.stderr
    engine = make_engine(do_sample=False, max_new_tokens=8)
    first = [{"role": "user", "content": "hello"}]
    one = answer(engine, first)
    second = [*first, {"role": "assistant", "content": one}, {"role": "user", "content": "who?"}]
    two = answer(engine, second)
    assert done.stdout == f"{one}\n{two}\n{one}\n"


def test_chat_prints_json_with_the_system_prompt(tiny_model_dir, make_engine):
    done = ftk(
        "chat",
        tiny_model_dir,
        "do_sample=false",
        "max_new_tokens=8",
        "--system",
        "Be brief.",
        "--prompt",
        "hi",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    wanted = answer(make_engine(do_sample=False, max_new_tokens=8), messages)
    assert json.loads(done.stdout) == {"messages": messages, "answer": wanted}


def test_chat_with_a_folder_that_holds_nothing_is_refused(tmp_path):
    done = ftk("chat", tmp_path, "--prompt", "hi")
    assert done.returncode == 2
    assert "without plan.json" in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c_interrupts_the_answer_and_not_the_chat(tiny_model_dir):
    command = [
        sys.executable,
        "-m",
        "ftk.cli.main",
        "chat",
        str(tiny_model_dir),
        "do_sample=false",
        "max_new_tokens=480",
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    chat = subprocess.Popen(command, text=True, bufsize=1, env={**os.environ, "HF_HUB_OFFLINE": "1"}, **pipes)
    chat.stdin.write("hello\n")
    first = chat.stdout.read(1)
    time.sleep(0.1)
    chat.send_signal(signal.SIGINT)
    out, err = chat.communicate("clear\nexit\n", timeout=60)
    assert first and chat.returncode == 0, err
    assert "Traceback" not in err
    assert len(tiny_tokenizer().encode(first + out)) < 480
