"""Datasets of the Hugging Face hub."""

from __future__ import annotations

import datasets
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from ft_plugin_data.config import DataConfig
from ftk.markers import hookimpl
from ftk.problems import RunError


class HubSource:
    @hookimpl
    def ftk_open_source(self, run, spec) -> datasets.Dataset | datasets.IterableDataset:
        """The token is the one that ``hf auth login`` or ``HF_TOKEN`` gave, unless ``hf_hub_token`` is set."""
        token = run.config.value("hf_hub_token") if run.config.was_set("hf_hub_token") else None
        name = f"dataset {spec.location!r} on the hub"
        try:
            return datasets.load_dataset(
                spec.location,
                name=spec.subset,
                data_dir=spec.folder,
                split=spec.split,
                revision=spec.revision,
                token=token,
                streaming=run.config[DataConfig].streaming,
            )
        except DatasetNotFoundError as e:
            hint = "check the name; for a private or gated one set hf_hub_token, or run 'hf auth login'"
            raise RunError(f"{name}: not found, or no right to read it", hint) from e
        except (ConnectionError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as e:
            hint = "check the connection and HF_HUB_OFFLINE, or download it and name the folder"
            raise RunError(f"{name} cannot be reached: {first_line(e)}", hint) from e
        except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as e:
            # An unknown subset or split, or a loading script: the text names the ones there are.
            raise RunError(f"{name}: {first_line(e)}", "check 'subset' and 'split' in dataset_info.json") from e


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
