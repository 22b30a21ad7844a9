"""TRL's side of ``stages.py``: the same rows, batches and steps. usage: python trl_side.py STAGE CONFIG"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import datasets
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

ROLES = {"system": "system", "human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant"}
KINDS = {
    "sft": (SFTConfig, SFTTrainer),
    "dpo": (DPOConfig, DPOTrainer),
    "kto": (KTOConfig, KTOTrainer),
    "rm": (RewardConfig, RewardTrainer),
    "orpo": (ORPOConfig, ORPOTrainer),
    "cpo": (CPOConfig, CPOTrainer),
    "simpo": (CPOConfig, CPOTrainer),
    "grpo": (GRPOConfig, GRPOTrainer),
}
SETTINGS = {"orpo": {"beta": 0.1}, "cpo": {"beta": 0.1}, "simpo": {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 0.1}}
"""What their defaults have different."""


def main() -> None:
    stage, path = sys.argv[1:]
    keys = json.loads(Path(path).read_text(encoding="utf-8"))
    model_path = keys["model_name_or_path"]
    config_class, trainer_class = KINDS[stage]
    arguments = {key: keys[key] for key in SAME if key in keys}
    if stage == "grpo":
        samples, tokens = keys["grpo_num_generate_samples"], keys["max_new_tokens"]
        # Its rows are completions, not prompts; and it samples as ftk does by default.
        arguments |= {"per_device_train_batch_size": samples * arguments["per_device_train_batch_size"]}
        arguments |= {"num_generations": samples, "max_completion_length": tokens}
        arguments |= {"temperature": 0.95, "top_p": 0.7, "top_k": 50}
    else:
        arguments |= {"max_length": keys["cutoff_len"], **SETTINGS.get(stage, {})}
    config = config_class(**arguments, bf16=keys.get("bf16", False), gradient_checkpointing=False)
    info = json.loads((Path(keys["dataset_dir"]) / "dataset_info.json").read_text(encoding="utf-8"))
    rows = json.loads((Path(keys["dataset_dir"]) / info[keys["dataset"]]["file_name"]).read_text(encoding="utf-8"))
    data = datasets.Dataset.from_list([READERS[stage](row) for row in rows[: keys.get("max_samples")]])
    if stage == "rm":
        model = AutoModelForSequenceClassification.from_pretrained(model_path, num_labels=1)
    else:
        model = AutoModelForCausalLM.from_pretrained(model_path)
    adapter = LoraConfig(
        r=8, lora_alpha=16, target_modules="all-linear", task_type="SEQ_CLS" if stage == "rm" else "CAUSAL_LM"
    )
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    more = {"reward_funcs": exact_answer} if stage == "grpo" else {}
    trainer = trainer_class(
        model=model, args=config, train_dataset=data, processing_class=tokenizer, peft_config=adapter, **more
    )
    trainer.train()
    trainer.state.save_to_json(str(Path(keys["output_dir"]) / "trainer_state.json"))


SAME = (
    "output_dir",
    "logging_steps",
    "save_strategy",
    "report_to",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "max_steps",
    "seed",
    "use_cpu",
)


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": ROLES[role], "content": text}


def alpaca(row: dict) -> dict:
    prompt = "\n".join(filter(None, [row["instruction"], row.get("input")]))
    return {"prompt": [turn("user", prompt)], "completion": [turn("assistant", row["output"])]}


def pair(row: dict) -> dict:
    answers = {name: [turn(row[name]["from"], row[name]["value"])] for name in ("chosen", "rejected")}
    return {"prompt": [turn(t["from"], t["value"]) for t in row["conversations"]], **answers}


def verdict(row: dict) -> dict:
    turns = [turn(t["role"], t["content"]) for t in row["messages"]]
    return {"prompt": turns[:-1], "completion": turns[-1:], "label": row["label"]}


def question(row: dict) -> dict:
    prompt = [turn("system", row["system"]), turn("user", row["instruction"])]
    return {"prompt": prompt, "answer": row["output"]}


def exact_answer(completions: list, answer: list[str], **_: object) -> list[float]:
    return [float(said[0]["content"].strip() == wanted) for said, wanted in zip(completions, answer, strict=True)]


READERS = {"sft": alpaca, "kto": verdict, "grpo": question} | dict.fromkeys(("dpo", "rm", "orpo", "cpo", "simpo"), pair)

if __name__ == "__main__":
    main()
