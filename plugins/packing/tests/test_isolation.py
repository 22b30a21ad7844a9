"""Packed documents give what they give alone, and a model in which they do not is found out."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface

from ft_plugin_packing.collate import PackedCollator
from ft_plugin_packing.isolation import Isolation, boundaries
from ft_plugin_packing.probe import fault, prove
from ft_plugin_packing.sequences import joined
from ft_plugin_trainer.encoding import NextTokenCollator
from ft_plugin_trainer.objective import NextToken
from ftk.problems import RunError
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer

from .architectures import BY_DOCUMENT, BY_MASKS, BY_POSITIONS, tiny

LENGTHS = ((9, 1, 14, 6), (3, 17))
TOKENIZER = tiny_tokenizer()
COLLATE = PackedCollator(NextTokenCollator(TOKENIZER.pad_token_id))


def documents(*, weights=False):
    """Rows of documents; the first third of each carries no loss."""
    g = torch.Generator().manual_seed(5)
    rows = []
    for lengths in LENGTHS:
        rows.append([])
        for n in lengths:
            ids = torch.randint(4, 400, (n,), generator=g).tolist()
            row = {"input_ids": ids, "labels": [-100] * (n // 3) + ids[n // 3 :], "weights": None}
            if weights and n % 2:
                row["weights"] = [0.25 * (1 + i % 4) for i in range(n)]
            rows[-1].append(row)
    return rows


def proved(model):
    """The model, and what isolates its documents."""
    isolation = Isolation(model)
    prove(model, isolation, TOKENIZER)
    return model, isolation


def assert_packed_is_as_alone(model, tolerance):
    rows = documents()
    batch = COLLATE([joined(row) for row in rows])
    with torch.no_grad():
        packed = model(**{key: value for key, value in batch.items() if key != "labels"}).logits
        for i, row in enumerate(rows):
            start = 0
            for document in row:
                alone = model(input_ids=torch.tensor([document["input_ids"]]), use_cache=False).logits[0]
                torch.testing.assert_close(packed[i, start : start + len(alone)], alone, rtol=0, atol=tolerance)
                start += len(alone)


@pytest.mark.parametrize(("attention", "tolerance"), [("sdpa", 1e-12), ("eager", 1e-7)])
def test_packed_logits_and_gradients_of_a_llama_are_those_of_its_documents_in_float64(attention, tolerance):
    # The eager softmax is in float32 whatever the model is in.
    model = tiny_llama(dtype=torch.float64)
    model.set_attn_implementation(attention)
    model, isolation = proved(model)
    assert not isolation.makes_masks and not isolation.stateful
    assert_packed_is_as_alone(model, tolerance)
    assert_same_loss_and_gradients(model, copy.deepcopy(model), tolerance=tolerance)


@pytest.mark.parametrize("name", sorted(BY_POSITIONS))
def test_positions_alone_isolate_most_architectures(name):
    model, isolation = proved(tiny(name).eval())
    assert not isolation.makes_masks and not isolation.stateful
    assert_packed_is_as_alone(model, 1e-5)


@pytest.mark.parametrize("name", sorted(BY_MASKS))
def test_a_model_that_keeps_positions_from_its_masks_gets_them_finished(name):
    model, isolation = proved(tiny(name).eval())
    assert isolation.makes_masks
    assert_packed_is_as_alone(model, 1e-5)


@pytest.mark.parametrize("name", sorted(BY_DOCUMENT))
def test_layers_with_a_state_run_by_document(name):
    untouched = tiny(name).eval()
    untouched.config.use_cache = False
    assert fault(untouched, TOKENIZER) is not None
    model, isolation = proved(tiny(name).eval())
    assert isolation.stateful
    assert_packed_is_as_alone(model, 1e-5)


def assert_same_loss_and_gradients(model, plain, *, weights=False, tolerance=1e-12):
    """Of two models that are alike, one trained on packed rows and one on the documents."""
    rows, objective = documents(weights=weights), NextToken()
    batches = COLLATE([joined(row) for row in rows]), COLLATE([document for row in rows for document in row])
    (loss, count), (plain_loss, plain_count) = (
        objective.sums(m.train(), batch)["loss"] for m, batch in zip((model, plain), batches, strict=True)
    )
    assert count == plain_count
    torch.testing.assert_close(loss, plain_loss, rtol=tolerance, atol=0)
    (loss / count).backward()
    (plain_loss / count).backward()
    trained = [(p, q) for p, q in zip(model.parameters(), plain.parameters(), strict=True) if p.requires_grad]
    for p, q in trained:
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=tolerance)
    assert any(p.grad.abs().max() > 1e-6 for p, _ in trained)


@pytest.mark.parametrize("checkpointing", [None, {"use_reentrant": False}, {"use_reentrant": True}])
@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("name", ["Llama", "Lfm2"])
def test_loss_and_gradients_are_the_same_with_adapters_weights_and_checkpointing(name, adapted, checkpointing):
    model = tiny(name).double()
    if adapted:
        model = get_peft_model(
            model, LoraConfig(target_modules=["q_proj", "k_proj", "in_proj"], init_lora_weights=False)
        )
    plain = copy.deepcopy(model)
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(checkpointing)
    model, _ = proved(model)
    assert_same_loss_and_gradients(model, plain, weights=True)


def test_in_float32_the_loss_is_the_same_to_a_millionth():
    model, _ = proved(tiny_llama())
    assert_same_loss_and_gradients(model, tiny_llama(), weights=True, tolerance=1e-6)


def test_an_unpacked_batch_runs_as_ever_after_a_packed_one():
    model, plain = tiny("Lfm2").eval(), tiny("Lfm2").eval()
    model, _ = proved(model)
    batch = COLLATE([document for row in documents() for document in row])
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    assert torch.equal(model(**inputs).logits, plain(**inputs).logits)


def test_flash_attention_gets_the_boundaries_of_all_rows_end_to_end():
    batch = COLLATE([joined(row) for row in documents()])
    found = boundaries(batch["position_ids"])
    assert found["cu_seq_lens_q"].tolist() == [0, 9, 10, 24, 30, 33, 50, 60]
    assert found["cu_seq_lens_q"].dtype == torch.int32 and found["max_length_k"] == 17


def test_rows_of_several_documents_are_isolated_by_boundaries_alone():
    """With an attention that takes no mask, as flash attention does, but computes on a CPU."""
    told = []

    def attend(module, query, key, value, mask, scaling, cu_seq_lens_q=None, max_length_q=None, **kwargs):
        assert mask is None
        told.append((cu_seq_lens_q.tolist(), max_length_q))
        groups = query.shape[1] // key.shape[1]
        flat = (x.transpose(1, 2).flatten(0, 1) for x in (query, key, value))
        parts = zip(*(x.tensor_split(cu_seq_lens_q[1:-1].long()) for x in flat), strict=True)
        out = [
            nn.functional.scaled_dot_product_attention(
                q.transpose(0, 1),
                k.transpose(0, 1).repeat_interleave(groups, 0),
                v.transpose(0, 1).repeat_interleave(groups, 0),
                is_causal=True,
                scale=scaling,
            ).transpose(0, 1)
            for q, k, v in parts
        ]
        return torch.cat(out).unflatten(0, (len(query), -1)), None

    AttentionInterface.register("flashy", attend)
    AttentionMaskInterface.register("flashy", lambda *args, **kwargs: None)
    model, plain = tiny_llama().eval(), tiny_llama().eval()
    model.config._attn_implementation = "flashy"
    Isolation(model)
    batch = COLLATE([joined(row) for row in documents()])
    logits = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"]).logits
    expected = plain(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    assert told[0] == ([0, 9, 10, 24, 30, 33, 50, 60], 17)


def test_another_model_is_isolated_as_the_proved_one_is():
    policy, isolation = proved(tiny("GptOss").eval())
    reference = tiny("GptOss").eval()
    Isolation(reference, like=isolation)
    batch = COLLATE([joined(row) for row in documents()])
    inputs = {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"]}
    assert torch.equal(reference(**inputs).logits, policy(**inputs).logits)


def test_a_model_in_bfloat16_is_not_refused():
    proved(tiny_llama(dtype=torch.bfloat16))
    proved(tiny("Qwen3Moe").bfloat16())


class CumulativeMean(nn.Module):
    def forward(self, x):
        return x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]


class CausalConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(32, 32, 3, padding=2)

    def forward(self, x):
        return self.conv(x.mT)[..., : x.shape[1]].mT


class Faint(CumulativeMean):
    """Leaks a hundred-thousandth."""

    def forward(self, x):
        return x + 1e-5 * super().forward(x)


class LeakBehind(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad + grad.mean(1, keepdim=True)


class LeakBackwards(nn.Module):
    def forward(self, x):
        return LeakBehind.apply(x)


class FirstExpert(nn.Module):
    """Drops what does not fit: one document's tokens take another's place, and no gradient tells."""

    def forward(self, x):
        kept = torch.zeros_like(x[..., 0]).scatter(1, x.detach()[..., 0].topk(12, dim=1).indices, 1.0)
        return x * kept[..., None]


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (CumulativeMean, r"model\.layers\.1\.mlp\.1 \(CumulativeMean\)"),
        (CausalConvolution, r"model\.layers\.1\.mlp\.1 \(CausalConvolution\)"),
        (Faint, "the backward pass of some layer"),
        (FirstExpert, r"model\.layers\.1\.mlp\.1 \(FirstExpert\)"),
        (LeakBackwards, "the backward pass of some layer"),
    ],
)
@pytest.mark.parametrize("adapted", [False, True])
def test_a_layer_that_leaks_is_refused_by_name(module, named, adapted):
    model = tiny_llama()
    layer = model.model.layers[1]
    layer.mlp = nn.Sequential(layer.mlp, module())
    if adapted:
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(RunError, match=f"not isolated: (base_model.model.)?({named}) lets one"):
        proved(model)


def test_a_model_whose_attention_cannot_be_told_is_refused_by_name():
    with pytest.raises(RunError, match=r"transformer\.h\.0\.self_attention \(BloomAttention\) lets one influence"):
        proved(tiny("Bloom", n_layer=2, n_head=4))


def test_a_model_that_takes_its_masks_another_way_is_refused():
    # It has no sliding window, but finished masks would have.
    with pytest.raises(RunError, match=r"decoder\.layers\.0\.self_attn \(OPTAttention\) lets one influence another"):
        proved(tiny("OPT", sliding_window=4))


def test_positions_that_do_not_reach_the_model_are_found_out():
    model, isolation = proved(tiny("GPT2"))

    def forget(model, args, kwargs):
        kwargs["position_ids"] = None

    isolation.makes_masks = True
    model.register_forward_pre_hook(forget, with_kwargs=True)
    assert fault(model, TOKENIZER) == "GPT2LMHeadModel gives them other logits than alone"


def test_the_probe_leaves_the_model_as_it_was():
    model = tiny_llama().train()
    model.model.layers[0].eval()
    isolation = Isolation(model)
    hooks = [len(m._forward_hooks) for m in model.modules()]
    prove(model, isolation, TOKENIZER)
    assert [len(m._forward_hooks) for m in model.modules()] == hooks
    assert model.training and not model.model.layers[0].training and not model.model.layers[0].mlp.training
    assert all(p.grad is None for p in model.parameters())
