"""Value heads: their values, and the files that others write and read."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ft_plugin_rm.value_head import ValueHead, draw, file_in, head_for, last_values, load_into
from ftk.cli.main import main
from ftk.problems import RunError
from ftk_sdk.contracts import ExporterContract
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer, write_tiny_model

IDS = torch.arange(24).view(2, 12) * 7 % 399 + 1


def drawn(model, seed=1):
    head = head_for(model)
    draw(head, seed)
    return head


def test_the_value_is_that_of_the_last_attended_token_whichever_side_is_padded():
    model = tiny_llama(dtype=torch.float64)
    head = drawn(model)
    mask = torch.ones_like(IDS)
    right, left = mask.clone(), mask.clone()
    right[1, 7:], left[1, :5] = 0, 0
    shifted = torch.cat([IDS[1:, 7:], IDS[1:, :7]], 1)
    ids = torch.cat([IDS[:1], shifted])
    hidden = model(IDS[1:, :7], output_hidden_states=True).hidden_states[-1][0, -1]
    wanted = hidden @ head.linear.weight[0]
    for inputs in ({"input_ids": IDS, "attention_mask": right}, {"input_ids": ids, "attention_mask": left}):
        positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        made = last_values(model, head, inputs | {"position_ids": positions})
        torch.testing.assert_close(made[1], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("adapted", [False, True])
def test_the_output_head_does_not_run_and_is_as_before_after(adapted):
    model = tiny_llama()
    if adapted:
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "lm_head"]))
    before = model(IDS).logits
    ran = []
    handle = model.get_output_embeddings().weight.register_hook(ran.append) if not adapted else None
    values = last_values(model, drawn(model), {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)})
    values.sum().backward()
    assert values.shape == (2,) and not ran
    if handle:
        assert model.get_output_embeddings().weight.grad is None
    torch.testing.assert_close(model(IDS).logits, before, rtol=0, atol=0)


def test_values_are_in_float32_also_where_the_model_is_not():
    model = tiny_llama(dtype=torch.bfloat16)
    inputs = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    with torch.autocast("cpu", torch.bfloat16):
        assert last_values(model, drawn(model), inputs).dtype == torch.float32


def test_the_file_has_the_names_of_llama_factory_and_its_old_files_are_read(tmp_path):
    run = make_run(components=["loader:hf"])
    head = drawn(tiny_llama())
    state = {"v_head.summary.weight": head.linear.weight.data, "v_head.summary.bias": torch.tensor([0.5])}
    assert file_in(run, str(tmp_path)) is None
    torch.save(state, tmp_path / "value_head.bin")
    old = ValueHead(32)
    load_into(old, file_in(run, str(tmp_path)))
    save_file(state, tmp_path / "value_head.safetensors")
    new = ValueHead(32)
    load_into(new, file_in(run, str(tmp_path)))
    assert set(head.state_dict()) == set(state)
    for loaded in (old, new):
        assert torch.equal(loaded.linear.weight, head.linear.weight) and loaded.linear.bias == 0.5


class Boom:
    def __reduce__(self):
        return (print, ("a pickle ran code",))


def test_a_file_that_does_not_fit_is_refused_and_a_pickle_runs_nothing(tmp_path, capsys):
    torch.save({"v_head.summary.weight": Boom()}, tmp_path / "value_head.bin")
    with pytest.raises(RunError, match="cannot be read as weights"):
        load_into(ValueHead(32), tmp_path / "value_head.bin")
    assert "ran code" not in capsys.readouterr().out
    save_file(ValueHead(16).state_dict(), tmp_path / "value_head.safetensors")
    with pytest.raises(RunError, match="is no value head of this model: .*size mismatch"):
        load_into(ValueHead(32), tmp_path / "value_head.safetensors")


def reward_model(folder, *, bias=0.0, dtype=torch.float32):
    """A folder as training leaves it."""
    write_tiny_model(folder, dtype=dtype)
    head = drawn(tiny_llama(dtype=dtype))
    head.linear.bias.data.fill_(bias)
    save_file(head.state_dict(), folder / "value_head.safetensors")
    return head


class TestExporter(ExporterContract):
    component = "exporter:classifier"
    beside = ("loader:hf", "template:chatml")

    @pytest.fixture(autouse=True)
    def model(self, tmp_path_factory):
        self.model = tmp_path_factory.mktemp("rm")
        reward_model(self.model)

    def keys_for(self, folder):
        return {"model_name_or_path": str(self.model), "rm_export_dir": str(folder), "template": "chatml"}


def export(folder, *more):
    with pytest.raises(SystemExit) as stopped:
        main(["export", f"model_name_or_path={folder}", "finetuning_type=full", "rm_export_dir=served", *more])
    return stopped.value.code


@pytest.mark.parametrize("bias", [0.0, 0.7])
def test_the_classifier_scores_as_the_reward_model_does(tmp_path, monkeypatch, capsys, bias):
    monkeypatch.chdir(tmp_path)
    head = reward_model(tmp_path / "rm", bias=bias)
    assert not export("rm")
    assert ("lower by the bias 0.7" in capsys.readouterr().out) == bool(bias)
    classifier = AutoModelForSequenceClassification.from_pretrained("served")
    tokenizer = AutoTokenizer.from_pretrained("served")
    assert classifier.config.num_labels == 1 and "score.weight" in load_file("served/model.safetensors")
    rows = tokenizer(["hello", "the quick brown fox"], padding=True, return_tensors="pt")
    right = last_values(tiny_llama(), head, {k: rows[k] for k in ("input_ids", "attention_mask")})
    made = classifier(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).logits[:, 0]
    torch.testing.assert_close(made, right - bias, rtol=1e-5, atol=1e-5)


def test_an_export_that_would_score_otherwise_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    reward_model(tmp_path / "rm")
    tokenizer = tiny_tokenizer()
    # Classifiers take the last token that is not padding: with this one the newline that ends a turn is skipped.
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(tokenizer("\n")["input_ids"])[0]
    tokenizer.save_pretrained(tmp_path / "rm")
    assert export("rm") == 1
    assert "does the tokenizer pad with a token that ends a text" in capsys.readouterr().err
    assert not (tmp_path / "served").exists()


def test_a_model_without_a_value_head_is_no_reward_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path / "plain")
    assert export("plain") == 1
    assert "no value head beside" in capsys.readouterr().err
