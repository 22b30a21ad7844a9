"""Whole steps against a loop that shares no code with the stage."""

import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from ftk_sdk.evidence import checked
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer


def plain_ppo(folder, model, scores_of, *, whiten_rewards, penalty):
    """Two buffers of three steps, from the answers in the checkpoints: one row at a time, full logits, loops."""
    reference = tiny_llama(dtype=torch.float64, seed=3)
    weight, bias = (
        torch.zeros(32, dtype=torch.float64, requires_grad=True),
        torch.zeros(1, dtype=torch.float64, requires_grad=True),
    )
    parameters = [*model.parameters(), weight, bias]
    optimizer = torch.optim.AdamW(parameters, lr=5e-3, weight_decay=0.0)
    losses, kl_coeff, earlier = [], 0.3, []

    def measure(policy, ids, first):
        out = policy(torch.tensor([ids]), output_hidden_states=True)
        logp = F.log_softmax(out.logits[0, first - 1 : -1], dim=-1)
        values = out.hidden_states[-1][0, first - 1 : -1] @ weight + bias
        return logp[range(len(ids) - first), ids[first:]], values

    for buffer in (0, 1):
        stored = load_file(folder / f"checkpoint-{3 * buffer + 1}" / "objective-0.safetensors")
        sizes = stored["sizes"].tolist()
        rows = [part.tolist() for part in stored["ids"].split([n for n, _ in sizes])]
        starts = [first for _, first in sizes]
        raw = scores_of(
            [tiny_tokenizer().decode(ids[s:], skip_special_tokens=True) for ids, s in zip(rows, starts, strict=True)]
        )
        earlier += raw
        mean = sum(earlier) / len(earlier)
        spread = math.sqrt(sum((x - mean) ** 2 for x in earlier) / (len(earlier) - 1) + 1e-8)
        known, divergences = [], []
        for ids, first, score in zip(rows, starts, raw, strict=True):
            with torch.no_grad():
                (old, value), (ref, _) = measure(model, ids, first), measure(reference, ids, first)
            score = (score - mean) / spread - penalty * (ids[-1] != tiny_tokenizer().eos_token_id)
            rewards = [-kl_coeff * (a - b) for a, b in zip(old.tolist(), ref.tolist(), strict=True)]
            rewards[-1] += score
            divergences.append((old - ref).sum().item())
            known.append((old, value.tolist(), rewards))
        if whiten_rewards:
            everything = torch.tensor([r for _, _, rewards in known for r in rewards], dtype=torch.float64)
            scale = torch.rsqrt(everything.var() + 1e-8).item()
            middle = everything.mean().item()
            known = [(o, v, [(r - middle) * scale + middle for r in rewards]) for o, v, rewards in known]
        advantages = []
        for _, value, rewards in known:
            v = [*value, 0.0]
            delta = [rewards[t] + 0.9 * v[t + 1] - v[t] for t in range(len(rewards))]
            advantages.append(
                [sum((0.9 * 0.8) ** (k - t) * delta[k] for k in range(t, len(delta))) for t in range(len(delta))]
            )
        flat = torch.tensor([a for row in advantages for a in row], dtype=torch.float64)
        for _ in range(3):
            total = torch.zeros((), dtype=torch.float64)
            for ids, first, (old, value, _), advantage in zip(rows, starts, known, advantages, strict=True):
                new, now = measure(model, ids, first)
                for t, a in enumerate(advantage):
                    white = (a - flat.mean()) / torch.sqrt(flat.var() + 1e-8)
                    ratio = torch.exp(new[t] - old[t])
                    wanted = a + value[t]
                    near = torch.clamp(now[t], value[t] - 0.1, value[t] + 0.1)
                    total = total - torch.minimum(ratio * white, torch.clamp(ratio, 0.85, 1.15) * white)
                    total = total + 0.5 * 0.5 * torch.maximum((now[t] - wanted) ** 2, (near - wanted) ** 2)
            loss = total / len(flat)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.item())
        error = min(max(sum(divergences) / len(divergences) / 0.01 - 1, -0.2), 0.2)
        kl_coeff *= 1 + error * len(rows) / 50
    return losses, weight, bias


@checked(stage="ppo", loss="whole steps", against="a plain float64 loop from answers to weights, 6 steps of 2 buffers")
@pytest.mark.parametrize("whiten_rewards", [False, True])
def test_six_steps_from_a_config_equal_a_plain_loop_to_1e_9(ppo, tmp_path, whiten_rewards):
    tiny_llama(dtype=torch.float64, seed=3).save_pretrained(tmp_path / "exact")
    tiny_tokenizer().save_pretrained(tmp_path / "exact")
    log = ppo(
        model_name_or_path=str(tmp_path / "exact"),
        model_dtype="float64",
        max_steps=6,
        ppo_epochs=3,
        save_strategy="steps",
        save_steps=1,
        learning_rate=5e-3,
        ppo_kl_coeff=0.3,
        ppo_target=0.01,
        ppo_kl_horizon=50,
        ppo_gamma=0.9,
        ppo_lam=0.8,
        ppo_clip_ratio=0.15,
        ppo_clip_value=0.1,
        ppo_value_coeff=0.5,
        ppo_score_norm=True,
        ppo_whiten_rewards=whiten_rewards,
        ppo_missing_eos_penalty=0.5,
    )
    losses, weight, bias = plain_ppo(
        tmp_path / "out",
        tiny_llama(dtype=torch.float64, seed=3),
        lambda texts: [sum(c in "aeiou" for c in text) / max(len(text), 1) for text in texts],
        whiten_rewards=whiten_rewards,
        penalty=0.5,
    )
    assert log[3]["kl"] != 0  # the penalty takes part
    assert [entry["loss"] for entry in log] == pytest.approx(losses, rel=0, abs=1e-9)
    saved = load_file(tmp_path / "out" / "value_head.safetensors")
    torch.testing.assert_close(saved["v_head.summary.weight"][0], weight.detach(), rtol=0, atol=1e-9)
    torch.testing.assert_close(saved["v_head.summary.bias"], bias.detach(), rtol=0, atol=1e-9)
