"""New tokens and their rows."""

import pytest
import torch

from ft_plugin_hf.vocabulary import choose_pad_token, fit_embeddings
from ftk.problems import RunError
from ftk_sdk.testing import make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer, write_tiny_model


def grown(tied=False, init="noise_init", seed=0, new=None, before=None):
    new = {"<a>": "fox dog", "<b>": "wizards"} if new is None else new
    tokenizer, model = tiny_tokenizer(), tiny_llama(tied=tied, vocab_size=before or len(tiny_tokenizer()))
    old = [w.detach().clone() for w in (model.model.embed_tokens.weight, model.lm_head.weight)]
    tokenizer.add_special_tokens({"extra_special_tokens": list(new)}, replace_extra_special_tokens=False)
    added = fit_embeddings(model, tokenizer, new, init=init, seed=seed)
    return model, tokenizer, old, added


@pytest.mark.parametrize("tied", [False, True])
def test_embeddings_grow_to_a_multiple_of_64_and_keep_what_they_had(tied):
    model, tokenizer, old, added = grown(tied)
    rows = model.model.embed_tokens.weight.shape[0]
    assert rows % 64 == 0
    assert rows >= len(tokenizer)
    assert added == rows - len(old[0])
    assert model.config.vocab_size == rows == model.lm_head.weight.shape[0]
    for was, weight in zip(old, (model.model.embed_tokens.weight, model.lm_head.weight), strict=True):
        assert torch.equal(was, weight[: len(was)])
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied


@pytest.mark.parametrize("tied", [False, True])
def test_new_rows_start_near_the_mean_differ_and_depend_on_the_seed_alone(tied):
    model, _tokenizer, old, _ = grown(tied)
    for weight, was in ((model.model.embed_tokens.weight, old[0]), (model.lm_head.weight, old[1])):
        rows = weight[len(was) :].float()
        assert ((rows - was.mean(0)).abs() < was.std(0)).all()
        assert len(torch.unique(rows, dim=0)) == len(rows)
    again, other = grown(tied)[0], grown(tied, seed=1)[0]
    assert torch.equal(model.lm_head.weight, again.lm_head.weight)
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)


def test_a_described_token_starts_at_the_mean_of_its_description():
    model, tokenizer, old, _ = grown(init="desc_init")
    ids = tokenizer("fox dog", add_special_tokens=False)["input_ids"]
    row = tokenizer.convert_tokens_to_ids("<a>")
    torch.testing.assert_close(model.model.embed_tokens.weight[row], old[0][ids].mean(0))
    torch.testing.assert_close(model.lm_head.weight[row], old[1][ids].mean(0))
    noisy = grown(init="desc_init_w_noise")[0].model.embed_tokens.weight[row]
    assert 0 < (noisy - old[0][ids].mean(0)).abs().max() < old[0].std()


def test_spare_rows_of_the_checkpoint_are_started_too_and_nothing_grows():
    size = len(tiny_tokenizer())
    model, _tokenizer, old, added = grown(before=512)
    assert added == 0
    changed = (model.lm_head.weight != old[1]).any(dim=1).nonzero().flatten().tolist()
    assert changed == [size, size + 1]


def test_a_description_without_known_tokens_is_an_error():
    with pytest.raises(RunError, match="the description of '<a>' holds no token"):
        grown(init="desc_init", new={"<a>": "<a>"})


def test_tokens_of_the_config_are_added_and_found_again(tmp_path):
    path = write_tiny_model(tmp_path / "model")
    keys = {"model_name_or_path": str(path), "add_tokens": "zyx", "add_special_tokens": "<think>,</think>"}
    run = make_run(keys, components=["loader:hf"])
    tokenizer = run.load_tokenizer()
    ids = tokenizer("<think>a zyx</think>", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a zyx"
    assert "<|im_start|>" in tokenizer.all_special_tokens
    model = run.load_model()
    assert max(ids) < model.config.vocab_size
    assert torch.equal(model.lm_head.weight, make_run(keys, components=["loader:hf"]).load_model().lm_head.weight)
    tokenizer.save_pretrained(tmp_path / "again")
    model.save_pretrained(tmp_path / "again")
    again = make_run(keys | {"model_name_or_path": str(tmp_path / "again")}, components=["loader:hf"])
    assert torch.equal(again.load_model().lm_head.weight, model.lm_head.weight)


def test_described_tokens_come_from_a_file(tmp_path):
    path = write_tiny_model(tmp_path / "model")
    file = tmp_path / "tokens.yaml"
    keys = {"model_name_or_path": str(path), "new_special_tokens_config": str(file), "init_special_tokens": "desc_init"}
    file.write_text('"<fox>": quick brown fox\n')
    run = make_run(keys, components=["loader:hf"])
    row = run.load_tokenizer().convert_tokens_to_ids("<fox>")
    assert not torch.equal(run.load_model().lm_head.weight[row], tiny_llama().lm_head.weight[row])
    for text in ("- a\n", "a: [1]\n", "a: ''\n", "a: [\n", "\xff"):
        file.write_text(text, encoding="latin-1")
        with pytest.raises(RunError, match="new_special_tokens_config"):
            make_run(keys, components=["loader:hf"]).load_tokenizer()


def test_a_tokenizer_too_large_for_the_model_is_an_error_unless_resizing_is_asked_for(tmp_path):
    path = write_tiny_model(tmp_path)
    tiny_llama(vocab_size=64).save_pretrained(path)
    keys = {"model_name_or_path": str(path)}
    with pytest.raises(RunError, match="the model embeddings for 64"):
        make_run(keys, components=["loader:hf"]).load_model()
    assert make_run(keys | {"resize_vocab": True}, components=["loader:hf"]).load_model().config.vocab_size % 64 == 0


def test_a_missing_pad_token_is_one_that_the_vocabulary_can_spare():
    tokenizer = tiny_tokenizer()
    size = len(tokenizer)
    tokenizer.pad_token = None
    assert choose_pad_token(tokenizer) is None
    assert tokenizer.pad_token == "<|pad|>"
    assert len(tokenizer) == size


def test_the_end_of_text_token_pads_only_where_there_is_no_other(monkeypatch):
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    monkeypatch.setattr("ft_plugin_hf.vocabulary.PAD_TOKENS", ("<|im_end|>",))
    assert choose_pad_token(tokenizer) == "<|im_end|>"
    tokenizer.pad_token = tokenizer.eos_token = None
    monkeypatch.setattr("ft_plugin_hf.vocabulary.PAD_TOKENS", ())
    with pytest.raises(RunError, match="neither a pad token"):
        choose_pad_token(tokenizer)


def test_keys_of_the_tokenizer_reach_it(tmp_path):
    path = write_tiny_model(tmp_path)
    keys = {"model_name_or_path": str(path), "model_max_length": 77, "split_special_tokens": True}
    tokenizer = make_run(keys, components=["loader:hf"]).load_tokenizer()
    assert tokenizer.model_max_length == 77
    assert len(tokenizer("<|im_end|>")["input_ids"]) > 1
