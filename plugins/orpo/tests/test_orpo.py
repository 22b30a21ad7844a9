import json
import math
import os

import datasets
import pytest
import torch

from ft_plugin_orpo import plugin
from ft_plugin_orpo.orpo import log_odds, orpo_loss
from ft_plugin_preference.losses import Pairs
from ftk.contracts import Example
from ftk.execute import start
from ftk.problems import ConfigError
from ftk_sdk.contracts import PluginContract, StageContract
from ftk_sdk.evidence import checked
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer, write_tiny_model

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
from trl.experimental.orpo import ORPOConfig, ORPOTrainer


class TestPlugin(PluginContract):
    plugin = plugin


WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class TestStage(StageContract):
    component = "stage:orpo"
    keys = {"template": "chatml"}
    rows = tuple(
        {"instruction": f"Say the number {n} in words", "chosen": word, "rejected": "I will not" + " say" * (n % 3)}
        for n, word in enumerate(WORDS)
    )
    example = Example(
        messages=[{"role": "user", "content": "hello"}],
        chosen=[{"role": "assistant", "content": "the fox"}],
        rejected=[{"role": "assistant", "content": "lazy dog"}],
    )
    loss_on = {"chosen_labels": ["the fox<|im_end|>"], "rejected_labels": ["lazy dog<|im_end|>"]}


N, BETA = 6, 0.3


def pairs() -> Pairs:
    """Random pairs in float64, whose log-probabilities want a gradient."""
    g = torch.Generator().manual_seed(0)
    lengths = [torch.randint(3, 30, (N,), generator=g) for _ in range(2)]
    means = [-0.05 - 2 * torch.rand(N, generator=g, dtype=torch.float64) for _ in range(3)]
    chosen_B, rejected_B = ((mean * n).requires_grad_() for mean, n in zip(means, lengths, strict=False))
    tokens = {"chosen_tokens_B": lengths[0], "rejected_tokens_B": lengths[1]}
    return Pairs(chosen_B=chosen_B, rejected_B=rejected_B, chosen_mean_B=means[2].requires_grad_(), **tokens)


def require_formula(loss, formula) -> None:
    """The loss is the formula of ``(chosen, rejected, mean, chosen tokens, rejected tokens)`` of each pair."""
    made, plain = pairs(), pairs()
    made_B = loss(made)
    names = ("chosen_B", "rejected_B", "chosen_mean_B", "chosen_tokens_B", "rejected_tokens_B")
    wanted_B = torch.stack([formula(*(getattr(plain, name)[i] for name in names)) for i in range(N)])
    torch.testing.assert_close(made_B, wanted_B, rtol=0, atol=1e-9)
    made_B.sum().backward()
    wanted_B.sum().backward()
    for name in names[:3]:
        one, other = (getattr(p, name).grad for p in (made, plain))
        if one is not None or other is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@checked(
    stage="orpo", loss="orpo", against="the paper's formula with plain odds in float64, value and gradient to 1e-9"
)
def test_the_loss_is_the_papers_formula():
    def formula(chosen, rejected, mean, chosen_tokens, rejected_tokens):
        p, q = torch.exp(chosen / chosen_tokens), torch.exp(rejected / rejected_tokens)
        return -mean - BETA * torch.log(torch.sigmoid(torch.log((p / (1 - p)) / (q / (1 - q)))))

    require_formula(lambda made: orpo_loss(made, beta=BETA), formula)


@pytest.mark.parametrize("logp", [-1e-12, -1e-5, -0.4999, -0.5001, -30.0, -800.0])
def test_odds_are_exact_near_0_and_1(logp):
    x = torch.tensor([logp], dtype=torch.float64, requires_grad=True)
    made = log_odds(x)
    made.backward()
    wanted = logp - math.log(-math.expm1(logp))
    assert made.item() == pytest.approx(wanted, rel=1e-12)
    assert x.grad.item() == pytest.approx(-1 / math.expm1(logp), rel=1e-9)


def test_a_certain_answer_has_finite_odds():
    x = torch.zeros(1, requires_grad=True)
    log_odds(x).backward()
    assert log_odds(x).isfinite() and x.grad.isfinite()


@pytest.mark.parametrize(
    ("key", "value"),
    [("pref_bco_weight", 0.5), ("ld_alpha", 0.5), ("ref_model", "x"), ("precompute_ref_log_probs", True)],
)
def test_keys_without_a_meaning_are_refused(key, value):
    with pytest.raises(ConfigError, match=f"{key} has no meaning for stage: orpo"):
        make_plan({"stage": "orpo", key: value})


def says(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


PAIRS = (("zero", "I will not"), ("one and nothing else", "no"), ("two", "I say what I say"), ("three of them", "four"))
STEPS, RATE = 3, 1e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    write_tiny_model(made / "model", dtype=torch.float64, seed=3)
    rows = [{"instruction": f"say {n}", "chosen": word, "rejected": no} for n, (word, no) in enumerate(PAIRS)]
    (made / "rows.json").write_text(json.dumps(rows))
    return made


class Recording(ORPOTrainer):
    """Keeps the loss of each micro-batch unrounded, and what is logged."""

    def __init__(self, **kwargs) -> None:
        self.losses = []
        super().__init__(**kwargs)

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


def of_trl(folder, **options) -> Recording:
    """In micro-batches of one pair, as TRL's supervised part is a mean over the tokens of a micro-batch."""
    rows = [
        {"prompt": says("user", f"say {n}"), "chosen": says("assistant", word), "rejected": says("assistant", no)}
        for n, (word, no) in enumerate(PAIRS)
    ]
    args = ORPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=len(PAIRS),
        max_steps=STEPS,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
        **options,
    )
    tokenizer = tiny_tokenizer()
    # TRL adds the end that it knows of to answers that end in something else, such as a line's end.
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(tokenizer("\n")["input_ids"])[0]
    trainer = Recording(
        model=tiny_llama(dtype=torch.float64, seed=3),
        args=args,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    return trainer


def of_ftk(folder, out, **keys) -> list[dict]:
    """The log of three steps."""
    settled = {
        "stage": "orpo",
        "finetuning_type": "full",
        "model_name_or_path": str(folder / "model"),
        "model_dtype": "float64",
        "template": "chatml",
        "dataset": str(folder / "rows.json"),
        "output_dir": str(out),
        "per_device_train_batch_size": len(PAIRS),
        "max_steps": STEPS,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
    }
    start(make_run({**settled, **keys}))
    return [json.loads(line) for line in (out / "trainer_log.jsonl").read_text().splitlines()]


@checked(
    stage="orpo", loss="odds ratio", against="TRL 1.16 ORPOTrainer, all but its supervised part, first step to 1e-5"
)
def test_the_part_of_the_odds_is_that_of_trl(folder, tmp_path):
    # TRL's supervised part covers the prompt too, so that from the second step on both go other ways.
    theirs = of_trl(folder, beta=0.5).state.log_history[0]
    ours = of_ftk(folder, tmp_path, pref_beta=0.5)[0]
    assert ours["rewards/chosen"] == pytest.approx(theirs["rewards/chosen"], abs=1e-5)
    assert ours["rewards/margins"] == pytest.approx(theirs["rewards/margins"], abs=1e-5)
    supervised = -ours["rewards/chosen"] / 0.5
    assert ours["loss"] - supervised == pytest.approx(-0.5 * theirs["log_odds_ratio"], abs=1e-5)
