"""Reward models as rewards: which kind one is, what it scores, and what is said where it cannot."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForSequenceClassification

from ft_plugin_reward import plugin
from ft_plugin_rewards.scoring import Rewards
from ft_plugin_rm.value_head import draw, head_for, last_values
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import AddonContract, PluginContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer, write_tiny_model

TOGETHER = ("addon:reward", "addon:rewards", "loader:hf", "template:chatml")
PROMPTS = [[{"role": "user", "content": "hello"}], [{"role": "user", "content": "your name"}]] * 2
SAID = ["the fox", "lazy dog and more", "", "I am small"]


class TestPlugin(PluginContract):
    plugin = plugin


class TestAddon(AddonContract):
    component = "addon:reward"
    keys = {"reward_model": "http://127.0.0.1:9/score"}
    beside = ("addon:rewards", "loader:hf")


def scores(run, said=SAID, prompts=PROMPTS):
    return Rewards(run).score(prompts, said, {}).parts["reward_model"]


def run_with(policy, name, **keys):
    keys = {"model_name_or_path": str(policy), "template": "chatml", "reward_model": str(name), **keys}
    return make_run(keys, components=TOGETHER)


@pytest.fixture
def policy(tmp_path):
    return write_tiny_model(tmp_path / "policy")


def rendered(prompt, text):
    talk = [*prompt, {"role": "assistant", "content": text}]
    return "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in talk)


def one_by_one(model, head, tokenizer=None, prompts=PROMPTS, said=SAID):
    """Each conversation alone, without padding."""
    tokenizer = tokenizer or tiny_tokenizer()
    values = []
    for prompt, text in zip(prompts, said, strict=True):
        ids = tokenizer(rendered(prompt, text), add_special_tokens=False, return_tensors="pt").input_ids
        values.append(
            last_values(model.eval(), head, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}).item()
        )
    return values


def save_head(model, folder, *, pickled=False):
    head = head_for(model)
    draw(head, 7)
    head.linear.bias.data.fill_(0.25)
    state = {key: value.clone() for key, value in head.state_dict().items()}
    torch.save(state, folder / "value_head.bin") if pickled else save_file(state, folder / "value_head.safetensors")
    return head


@pytest.mark.parametrize("pickled", [False, True])
def test_a_whole_model_with_a_value_head_scores_the_last_token(policy, tmp_path, pickled):
    folder = write_tiny_model(tmp_path / "rm", seed=5)
    head = save_head(tiny_llama(seed=5), folder, pickled=pickled)
    made = scores(run_with(policy, folder, reward_batch_size=3))
    assert made == pytest.approx(one_by_one(tiny_llama(seed=5), head), abs=1e-5)
    assert len(set(made)) == 4


def test_an_adapter_is_put_on_the_model_that_training_starts_from(policy, tmp_path):
    model = get_peft_model(tiny_llama(), LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    model.save_pretrained(tmp_path / "rm")
    head = save_head(model, tmp_path / "rm")
    made = scores(run_with(policy, tmp_path / "rm"))
    assert made == pytest.approx(one_by_one(model, head), abs=1e-5)
    assert made != pytest.approx(one_by_one(tiny_llama(), head), abs=1e-5)


def test_adapters_of_a_whole_reward_model_are_loaded_and_the_last_one_has_the_head(policy, tmp_path):
    folder = write_tiny_model(tmp_path / "base", seed=5)
    model = get_peft_model(tiny_llama(seed=5), LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    model.save_pretrained(tmp_path / "adapter")
    head = save_head(model, tmp_path / "adapter")
    made = scores(run_with(policy, folder, reward_model_adapters=[str(tmp_path / "adapter")]))
    assert made == pytest.approx(one_by_one(model, head), abs=1e-5)


def classifier(folder, *, labels=1, vocabulary=512, tokenizer=None):
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_labels=labels,
    )
    torch.manual_seed(1)
    model = LlamaForSequenceClassification(config)
    model.save_pretrained(folder)
    (tokenizer or tiny_tokenizer()).save_pretrained(folder)
    return model.eval()


def test_a_classifier_is_known_by_its_config(policy, tmp_path):
    model = classifier(tmp_path / "rm")
    made = scores(run_with(policy, tmp_path / "rm"))
    wanted = []
    for prompt, text in zip(PROMPTS, SAID, strict=True):
        ids = tiny_tokenizer()(rendered(prompt, text), add_special_tokens=False, return_tensors="pt").input_ids
        wanted.append(model(ids).logits.item())
    assert made == pytest.approx(wanted, abs=1e-5)


def test_a_reward_model_of_another_vocabulary_reads_with_its_own_tokenizer_and_template(policy, tmp_path):
    other = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
    tokenizer = tiny_tokenizer(chat_template=other, extra_tokens=("<|judge|>",))
    small = tiny_llama(vocab_size=420, seed=5)
    small.save_pretrained(tmp_path / "rm")
    tokenizer.save_pretrained(tmp_path / "rm")
    head = save_head(small, tmp_path / "rm")
    made = scores(run_with(policy, tmp_path / "rm"))
    wanted = []
    for prompt, text in zip(PROMPTS, SAID, strict=True):
        whole = f"[user] {prompt[0]['content']}<|im_end|>[assistant] {text}<|im_end|>"
        ids = tokenizer(whole, add_special_tokens=False, return_tensors="pt").input_ids
        wanted.append(last_values(small, head, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}).item())
    assert made == pytest.approx(wanted, abs=1e-5)


def test_a_model_without_a_value_head_is_no_reward_model(policy, tmp_path):
    folder = write_tiny_model(tmp_path / "plain")
    with pytest.raises(RunError, match="has no value head, and is no sequence classifier"):
        scores(run_with(policy, folder))


def test_a_classifier_of_several_classes_is_refused(policy, tmp_path):
    classifier(tmp_path / "rm", labels=3)
    with pytest.raises(RunError, match="tells 3 classes apart, where a score is one number"):
        scores(run_with(policy, tmp_path / "rm"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"reward_model": "./nowhere"}, "there is no './nowhere'"),
        ({"reward_model": "x", "reward_model_type": "api"}, "'x' is no address of a server"),
        ({"reward_model": "http://x", "reward_model_type": "full"}, "reward_model is the address of a server"),
        ({"reward_model": ".", "reward_model_type": "lora"}, "'.' holds no adapter_config.json"),
        ({"reward_model": "http://x", "reward_model_quantization_bit": 3}, "=3 is neither 4 nor 8"),
        ({"reward_model": "http://x", "reward_batch_size": 0}, "reward_batch_size=0 must be at least 1"),
        ({"reward_model": "http://x", "reward_api_retries": -1}, "reward_api_retries=-1 must be at least 0"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_loaded(keys, message):
    try:
        found = [str(problem) for problem in make_plan(keys, components=TOGETHER).problems]
    except ConfigError as e:
        found = [str(e)]
    assert any(message in text for text in found)
