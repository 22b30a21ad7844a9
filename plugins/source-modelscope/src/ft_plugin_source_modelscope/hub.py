"""Datasets of ModelScope, through its own package."""

from __future__ import annotations

import datasets
from modelscope.msdatasets import MsDataset

from ft_plugin_data.config import DataConfig
from ft_plugin_hf.config import HfConfig
from ftk.markers import hookimpl
from ftk.problems import RunError


class ModelScopeSource:
    @hookimpl
    def ftk_open_source(self, run, spec) -> datasets.Dataset | datasets.IterableDataset:
        token = run.config[HfConfig].ms_hub_token
        options = {"revision": spec.revision, "token": token}
        try:
            opened = MsDataset.load(
                spec.location,
                subset_name=spec.subset,
                data_dir=spec.folder,
                split=spec.split,
                use_streaming=run.config[DataConfig].streaming,
                **{key: value for key, value in options.items() if value},
            )
            # By versions: a dataset of its own, or one of the library datasets.
            return opened.to_hf_dataset() if isinstance(opened, MsDataset) else opened
        except Exception as e:  # exceptions of many libraries, others in every version
            text = " ".join(str(e).split())[:200] or type(e).__name__
            hint = "check the name, 'subset' and 'split', the connection, and ms_hub_token for a private one"
            raise RunError(f"dataset {spec.location!r} of ModelScope cannot be read: {text}", hint) from e
