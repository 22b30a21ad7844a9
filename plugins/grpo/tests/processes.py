"""One of several processes that train a tiny model together. usage: torchrun ... processes.py FOLDER KEYS (JSON)"""

import json
import sys
from pathlib import Path

import torch
from conftest import QUESTIONS, keys_for, prepared

from ftk.execute import start
from ftk_sdk.testing import make_run


def main(folder: Path, keys: dict) -> None:
    # Seven rows: accelerate fills the last batch of an epoch with some from its beginning.
    found = prepared(folder, QUESTIONS[:7])
    start(make_run({**keys_for(folder), "output_dir": str(folder / "out"), "use_cpu": True, **keys}, plugins=found))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
