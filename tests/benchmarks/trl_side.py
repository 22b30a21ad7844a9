"""TRL's side of ``stages.py``: the same rows, batches and steps. usage: python trl_side.py CONFIG"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import datasets
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

ROLES = {"system": "system", "human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant"}
KINDS = {
    "sft": (SFTConfig, SFTTrainer),
    "dpo": (DPOConfig, DPOTrainer),
    "kto": (KTOConfig, KTOTrainer),
    "rm": (RewardConfig, RewardTrainer),
}


def main() -> None:
    keys = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    stage, model_path = keys["stage"], keys["model_name_or_path"]
    config_class, trainer_class = KINDS[stage]
    arguments = {key: keys[key] for key in SAME if key in keys}
    config = config_class(
        **arguments, bf16=keys.get("bf16", False), gradient_checkpointing=False, max_length=keys["cutoff_len"]
    )
    info = json.loads((Path(keys["dataset_dir"]) / "dataset_info.json").read_text(encoding="utf-8"))
    rows = json.loads((Path(keys["dataset_dir"]) / info[keys["dataset"]]["file_name"]).read_text(encoding="utf-8"))
    data = datasets.Dataset.from_list([READERS[stage](row) for row in rows])
    if stage == "rm":
        model = AutoModelForSequenceClassification.from_pretrained(model_path, num_labels=1)
    else:
        model = AutoModelForCausalLM.from_pretrained(model_path)
    adapter = LoraConfig(
        r=8, lora_alpha=16, target_modules="all-linear", task_type="SEQ_CLS" if stage == "rm" else "CAUSAL_LM"
    )
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    trainer = trainer_class(
        model=model, args=config, train_dataset=data, processing_class=tokenizer, peft_config=adapter
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


READERS = {"sft": alpaca, "dpo": pair, "rm": pair, "kto": verdict}

if __name__ == "__main__":
    main()
