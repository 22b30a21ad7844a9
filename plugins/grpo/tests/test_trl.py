"""Whole runs against TRL's trainers, on the same completions and rewards."""

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from ftk_sdk.evidence import checked
from ftk_sdk.tiny import tiny_tokenizer

trl = pytest.importorskip("trl")


RATE = 1.0
"""Of plain gradient descent: Adam would make whole steps of roundings where a gradient is zero."""


TOLERANCE = 1e-6
"""TRL keeps rewards and advantages in float32."""


def trained_by_trl(bench, trainer, config, *, more=None, **settings) -> dict[str, torch.Tensor]:
    """Final weights of a trainer of TRL. ``more``: further arguments of it."""

    def score(completions, **columns):
        return bench.score([c[0]["content"] for c in completions])

    args = config(
        output_dir=str(bench.folder / "trl"),
        model_init_kwargs={"dtype": "auto"},
        num_generations=4,
        max_completion_length=8,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        optim="sgd",
        shuffle_dataset=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        gradient_checkpointing=False,
        disable_tqdm=True,
        **{"per_device_train_batch_size": 8, "max_steps": 3, **settings},
    )
    trained = trainer(
        model=str(bench.folder / "model"),
        args=args,
        reward_funcs=score,
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": q}]} for q in bench.questions]),
        processing_class=tiny_tokenizer(),
        **(more or {}),
    )
    trained.train()
    return dict(trained.model.named_parameters())


def canned(bench, prompts: list[list[int]]) -> list[list[int]]:
    seen, made = {}, []
    for prompt in prompts:
        number = seen[tuple(prompt)] = seen.get(tuple(prompt), -1) + 1
        made.append(bench.canned(prompt, number))
    return made


def by_trl(bench, **settings) -> dict[str, torch.Tensor]:
    """Of its trainer for GRPO, whose completions a function gives."""

    def rollout(prompts, trainer):
        encode = trainer.processing_class.apply_chat_template
        ids = [encode(p, add_generation_prompt=True, tokenize=True, return_dict=False) for p in prompts]
        made = canned(bench, ids)
        return {"prompt_ids": ids, "completion_ids": made, "logprobs": [[0.0] * len(m) for m in made]}

    return trained_by_trl(bench, trl.GRPOTrainer, trl.GRPOConfig, more={"rollout_func": rollout}, **settings)


LOSSES = {
    "grpo": {"loss_type": "grpo"},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "dapo": {"loss_type": "dapo"},
    "bnpo": {"loss_type": "bnpo"},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    "cispo": {"loss_type": "cispo", "epsilon_high": 1.28},
}


@checked(
    stage="grpo",
    loss=["grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo"],
    against="TRL 1.16 GRPOTrainer: weights after 4 steps in float64, two on each batch, clipped and with divergence",
)
@pytest.mark.parametrize(("beta", "unbiased"), [(0.0, False), (0.2, False), (0.2, True)])
@pytest.mark.parametrize("loss", LOSSES)
def test_weights_after_some_steps_are_those_of_trl(bench, loss, beta, unbiased):
    if loss == "gspo" and unbiased:
        pytest.skip("TRL weighs divergences of tokens by the ratios of sequences")
    settings = {"epsilon": 0.02, "epsilon_high": 0.28, "num_iterations": 2, "max_steps": 4, "beta": beta}
    settings |= {"use_bias_correction_kl": unbiased}
    theirs = by_trl(bench, **{**settings, **LOSSES[loss]})
    folder = bench(
        grpo_loss=loss,
        grpo_beta=beta,
        grpo_unbiased_kl=unbiased,
        grpo_epsilon=0.02,
        grpo_epsilon_high=0.28,
        grpo_num_iterations=2,
        grpo_micro_batch_size=8,
        optim="sgd",
        learning_rate=RATE,
        max_steps=4,
    )
    ours = load_file(folder / "model.safetensors")
    for name, weight in theirs.items():
        torch.testing.assert_close(
            ours[name], weight.detach(), rtol=0, atol=TOLERANCE, msg=lambda m, n=name: f"{n}: {m}"
        )


@checked(stage="grpo", loss="advantage group", against="TRL 1.16 GRPOTrainer, weights after 3 steps in float64")
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_are_scaled_as_trl_scales_them(bench, scale):
    theirs = by_trl(bench, scale_rewards=scale, loss_type="dapo")
    folder = bench(grpo_loss="dapo", grpo_scale_rewards=scale, optim="sgd", learning_rate=RATE)
    ours = load_file(folder / "model.safetensors")
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight.detach(), rtol=0, atol=TOLERANCE)


@checked(
    stage="rloo",
    loss=["rloo", "advantage rloo"],
    against="TRL 1.16 RLOOTrainer: weights after 4 steps in float64, two on each batch, clipped and with divergence",
)
@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_weights_of_rloo_are_those_of_trl(bench, beta):
    pytest.importorskip("ft_plugin_rloo")

    class Canned(trl.RLOOTrainer):
        def _generate_single_turn(self, prompt_ids, images, multimodal_fields):
            return canned(bench, prompt_ids)

    settings = {"epsilon": 0.02, "epsilon_high": 0.28, "num_iterations": 2, "max_steps": 4, "beta": beta}
    theirs = trained_by_trl(bench, Canned, trl.RLOOConfig, **settings)
    folder = bench(
        stage="rloo",
        grpo_beta=beta,
        grpo_epsilon=0.02,
        grpo_epsilon_high=0.28,
        grpo_num_iterations=2,
        optim="sgd",
        learning_rate=RATE,
        max_steps=4,
    )
    ours = load_file(folder / "model.safetensors")
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight.detach(), rtol=0, atol=TOLERANCE)
