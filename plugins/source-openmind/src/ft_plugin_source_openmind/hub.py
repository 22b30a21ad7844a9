"""Datasets of Modelers, through the package of openMind."""

from __future__ import annotations

import datasets
from openmind import OmDataset

from ft_plugin_data.config import DataConfig
from ft_plugin_hf.config import HfConfig
from ftk.markers import hookimpl
from ftk.problems import RunError


class OpenMindSource:
    @hookimpl
    def ftk_open_source(self, run, spec) -> datasets.Dataset | datasets.IterableDataset:
        token = run.config[HfConfig].om_hub_token
        options = {"revision": spec.revision, "token": token}
        try:
            return OmDataset.load_dataset(
                path=spec.location,
                name=spec.subset,
                data_dir=spec.folder,
                split=spec.split,
                streaming=run.config[DataConfig].streaming,
                **{key: value for key, value in options.items() if value},
            )
        except Exception as e:  # exceptions of many libraries, others in every version
            text = " ".join(str(e).split())[:200] or type(e).__name__
            hint = "check the name, 'subset' and 'split', the connection, and om_hub_token for a private one"
            raise RunError(f"dataset {spec.location!r} of Modelers cannot be read: {text}", hint) from e
