"""Uploading to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, HTTPError

from ftk.problems import RunError


def upload(folder: Path, name: str, token: str | None) -> str:
    """Upload the folder to the repository, which is made if it is not there; its address. Raises RunError."""
    api = HfApi(token=token)
    try:
        address = api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=address.repo_id, folder_path=folder, commit_message="Upload model")
    except (HTTPError, HFValidationError, OSError) as e:
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        hint = f"the export itself is complete in {str(folder)!r}; log in with 'hf auth login' and upload it from there"
        raise RunError(f"export_hub_model_id: cannot upload to {name!r}: {reason}", hint) from e
    return str(address)
