"""What the contract of a stage is given where the stage learns from pairs."""

from ftk.contracts import Example

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
ROWS = tuple(
    {"instruction": f"Say the number {n} in words", "chosen": word, "rejected": "I will not" + " say" * (n % 3)}
    for n, word in enumerate(WORDS)
)
ANSWERS = {
    "chosen": [{"role": "assistant", "content": "the fox"}],
    "rejected": [{"role": "assistant", "content": "lazy dog"}],
}
EXAMPLE = Example(messages=[{"role": "user", "content": "hello"}], **ANSWERS)
LOSS_ON = {"chosen_labels": ["the fox<|im_end|>"], "rejected_labels": ["lazy dog<|im_end|>"]}
"""With the template chatml."""
