import json
import pickle

import pytest
import torch
from torch import nn

from ft_plugin_rollouts import plugin
from ft_plugin_rollouts.generation import answering
from ft_plugin_rollouts.log import CutLog, write
from ft_plugin_rollouts.prompts import PromptEncoder, prompts_of
from ft_plugin_rollouts.rollouts import Rollouts
from ft_plugin_rollouts.sampling import ended
from ftk.contracts import Example
from ftk.markers import hookimpl
from ftk.problems import ConfigError, RowError, RunError
from ftk_sdk.contracts import AddonContract, PluginContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13], [14]]
PARTS = ("template:chatml", "addon:rollouts")
TALK = [
    {"role": "system", "content": "you are small"},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "the fox"},
]


class TestPlugin(PluginContract):
    plugin = plugin


class TestRollouts(AddonContract):
    component = "addon:rollouts"
    keys = {"stage": "grpo", "reward_funcs": ["length"]}


def rollouts_of(unset=None, **keys) -> Rollouts:
    run = make_run({"max_new_tokens": 12, **keys}, components=PARTS)
    tokenizer = tiny_tokenizer()
    return Rollouts(run, tokenizer, run.load_template(tokenizer), unset=unset)


def test_greedy_completions_are_those_of_each_prompt_alone():
    """A plain loop: one prompt, no padding, no cache."""
    model = tiny_llama(dtype=torch.float64, seed=3)
    found = rollouts_of(do_sample=False).generate(model, PROMPTS)
    for prompt, (completion,) in zip(PROMPTS, found, strict=True):
        ids = list(prompt)
        for _ in range(12):
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] == tiny_tokenizer().eos_token_id:
                break
        assert completion.ids == ids[len(prompt) :]


def test_each_prompt_has_its_completions_in_order_and_they_differ():
    groups = rollouts_of().generate(tiny_llama(), PROMPTS, n=4)
    assert [len(group) for group in groups] == [4, 4, 4]
    assert len({tuple(c.ids) for group in groups for c in group}) > 6


def test_the_same_step_gives_the_same_completions_whatever_was_drawn_before():
    rollouts, model = rollouts_of(), tiny_llama()
    first = rollouts.generate(model, PROMPTS, n=2, step=3)
    torch.rand(7)
    before = torch.random.get_rng_state()
    assert rollouts_of().generate(model, PROMPTS, n=2, step=3) == first
    assert torch.equal(torch.random.get_rng_state(), before)
    assert rollouts.generate(model, PROMPTS, n=2, step=4) != first
    assert rollouts_of(seed=7).generate(model, PROMPTS, n=2, step=3) != first


def test_an_end_token_is_part_of_the_ids_and_not_of_the_text():
    model = tiny_llama()
    model.lm_head.weight.data[2] = 0  # the end is then as likely as the average token
    groups = rollouts_of(top_p=1.0, top_k=0, max_new_tokens=400).generate(model, PROMPTS, n=8)
    finished = [c for group in groups for c in group if c.finished]
    assert finished
    for completion in finished:
        assert completion.ids.count(2) == 1 and completion.ids[-1] == 2
        assert completion.text == tiny_tokenizer().decode(completion.ids[:-1], skip_special_tokens=True)


def test_what_is_cut_at_max_new_tokens_is_not_finished():
    (group,) = rollouts_of(max_new_tokens=3).generate(tiny_llama(), PROMPTS[:1], n=5)
    cut = [c for c in group if not c.finished]
    assert cut and all(len(c.ids) == 3 for c in cut)


def test_a_stop_of_several_tokens_ends_a_completion_with_the_token_that_completes_it():
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode("the fox STOP and more", add_special_tokens=False)
    kept, text, finished = ended(ids, [2], ["STOP"], tokenizer.decode)
    assert text == "the fox " and finished
    assert tokenizer.decode(kept).endswith("STOP") and "STOP" not in tokenizer.decode(kept[:-1])
    assert ended(ids, [2], ["NEVER"], tokenizer.decode) == (ids, "the fox STOP and more", False)


def test_a_model_is_left_as_it_was():
    model = tiny_llama().train()
    model.model.layers[0].eval()
    model.generation_config.temperature = 0.3
    with answering(model):
        assert not any(m.training for m in model.modules())
        assert model.generation_config.temperature is None
        assert not model(torch.tensor([[5]])).logits.requires_grad
    assert model.generation_config.temperature == 0.3
    assert model.training and not model.model.layers[0].training and model.model.layers[1].training


def test_dropout_is_off_while_generating():
    model = tiny_llama()
    plain = rollouts_of(do_sample=False).generate(model, PROMPTS)
    model.model.layers[0].mlp.down_proj = nn.Sequential(model.model.layers[0].mlp.down_proj, nn.Dropout(0.9))
    assert rollouts_of(do_sample=False).generate(model.train(), PROMPTS) == plain


def test_a_stage_may_want_other_values_of_keys_that_are_not_set():
    wishes = {"temperature": 1.0, "top_p": 1.0}
    assert rollouts_of(unset=wishes, top_p=0.9).sampling.top_p == 0.9
    assert rollouts_of(unset=wishes).sampling.temperature == 1.0
    assert rollouts_of().sampling.temperature == 0.95


def test_an_engine_of_another_package_takes_the_place_of_transformers():
    class Parrot:
        @hookimpl
        def ftk_rollout_engine(self):
            return self

        def generate(self, model, prompts, sampling, *, step, seed):
            return [[*prompt, 2, 5] for prompt in prompts]

    run = make_run({}, components=PARTS)
    run._manager.register(Parrot(), name="rollout-engine:parrot")
    tokenizer = tiny_tokenizer()
    groups = Rollouts(run, tokenizer, run.load_template(tokenizer)).generate(tiny_llama(), PROMPTS)
    assert [group[0].ids for group in groups] == [[*prompt, 2] for prompt in PROMPTS]


def test_an_engine_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="rollout-engine:nowhere"):
        make_plan({"rollouts_engine": "nowhere"})


def test_new_tokens_end_where_the_model_does():
    (group,) = rollouts_of(max_new_tokens=5000).generate(tiny_llama(), [[5] * 500])
    assert len(group[0].ids) <= 12
    with pytest.raises(RunError, match="a prompt has 600 tokens, and the model takes 512"):
        rollouts_of().generate(tiny_llama(), [[5] * 600])


@pytest.mark.parametrize(
    "keys", [{"num_beams": 2}, {"rollouts_batch_size": 0}, {"rollouts_logged": -2}, {"temperature": 0.0}]
)
def test_values_that_mean_nothing_are_refused(keys):
    with pytest.raises(ConfigError, match=next(iter(keys))):
        make_plan(keys, components=PARTS)


def encoder(cutoff_len=64, template="chatml") -> PromptEncoder:
    tokenizer = tiny_tokenizer()
    template = make_run({}, components=[f"template:{template}"]).load_template(tokenizer)
    return PromptEncoder(tokenizer, template, cutoff_len=cutoff_len)


def test_a_prompt_ends_where_the_answer_would_begin_and_the_answer_is_a_column():
    made = encoder().encode([Example(messages=TALK, columns={"level": 3})])
    (prompt,) = prompts_of(encoder().collate([made[0][0].columns]))
    assert tiny_tokenizer().decode(prompt.ids).endswith("hello<|im_end|>\n<|im_start|>assistant\n")
    assert "you are small" in tiny_tokenizer().decode(prompt.ids)
    assert prompt.messages == TALK[:2]
    assert prompt.columns == {"answer": "the fox", "level": 3}


def test_a_column_named_answer_stays_what_it_is():
    ((made,),) = encoder().encode([Example(messages=TALK, columns={"answer": 7})])
    assert json.loads(made.columns["example"])["columns"] == {"answer": 7}


def test_raw_text_is_a_question_and_a_tools_result_may_come_last():
    call = {"type": "function", "function": {"name": "add", "arguments": {}}}
    talk = [*TALK[:2], {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "7"}]
    one, other = encoder(512, "qwen").encode([Example(text="hello fox"), Example(messages=talk)])
    assert "user\nhello fox" in tiny_tokenizer().decode(one[0].columns["prompt_input_ids"])
    assert json.loads(other[0].columns["example"])["messages"] == talk


def test_tools_are_part_of_the_prompt():
    tool = {"type": "function", "function": {"name": "add_up", "description": "adds", "parameters": {}}}
    ((made,),) = encoder(512, "qwen").encode([Example(messages=TALK, tools=[tool])])
    assert "add_up" in tiny_tokenizer().decode(made.columns["prompt_input_ids"])


@pytest.mark.parametrize(
    ("example", "why"),
    [
        (Example(), "no prompt"),
        (Example(messages=TALK[2:]), "no prompt: there is no turn of the user before the answer"),
        (Example(messages=[TALK[0], TALK[2]]), "no prompt"),
        (Example(messages=[{"role": "user", "content": "fox " * 80}]), "tokens, more than cutoff_len=64"),
    ],
)
def test_rows_without_a_prompt_that_fits_are_refused(example, why):
    good, refused = encoder().encode([Example(messages=TALK), example])
    assert isinstance(good, list) and isinstance(refused, RowError) and why in str(refused)


def test_batches_are_tensors_of_rows_that_can_be_cut_and_hold_any_text():
    rows = [
        Example(messages=[{"role": "user", "content": text}], columns={"note": text}) for text in ("a", "\u00fc " * 9)
    ]
    batch = encoder().collate([e.columns for (e,) in encoder().encode(rows)])
    assert {len(value) for value in batch.values()} == {2}
    (last,) = prompts_of({key: value[1:] for key, value in batch.items()})
    assert last.columns["note"] == "\u00fc " * 9
    assert batch["prompt_mask"][0, 0] == 0 and batch["prompt_mask"][0, -1] == 1


def test_the_encoder_can_be_sent_and_its_fingerprint_tells_what_it_depends_on():
    assert pickle.loads(pickle.dumps(encoder())).fingerprint == encoder().fingerprint != encoder(65).fingerprint


def test_completions_are_logged_by_step_and_a_resumed_run_drops_later_ones(tmp_path):
    run = make_run({"output_dir": str(tmp_path), "rollouts_logged": 2}, components=PARTS)
    for step in range(3):
        write(run, step, ({"completion": f"{step} {n}"} for n in range(5)))
    path = tmp_path / "rollouts.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["completion"] for line in lines] == ["0 0", "0 1", "1 0", "1 1", "2 0", "2 1"]
    state = type("State", (), {"is_world_process_zero": True, "global_step": 2})
    CutLog(path).on_train_begin(None, state, None)
    assert len(path.read_text().splitlines()) == 4


def test_a_prompt_that_is_raw_text_too_keeps_its_system_turn():
    run = make_run({}, components=PARTS)
    template = run.load_template(tokenizer := tiny_tokenizer())
    encoder = PromptEncoder(tokenizer, template, cutoff_len=99)
    ((alone,),) = encoder.encode([Example(text="hello", messages=TALK[:2])])
    assert alone.columns["prompt_input_ids"] == template.encode_prompt(TALK[:2])
