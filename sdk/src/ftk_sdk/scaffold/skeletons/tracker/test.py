import json

from ft_plugin_skeleton_name import plugin

from ftk.contracts import Result
from ftk_sdk.contracts import PluginContract, TrackerContract


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(TrackerContract):
    component = "tracker:skeleton-name"

    def keys_for(self, folder):
        return {"output_dir": str(folder / "run"), "skeleton_name_file": str(folder / "runs.jsonl")}

    def told(self, folder):
        path = folder / "runs.jsonl"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def test_every_run_adds_a_line(self, tmp_path):
        for loss in (2.0, 1.0):
            run = self.tracked(tmp_path)
            run.finished(Result(output_dir=run.output_dir, metrics={"train_loss": loss}))
        lines = [json.loads(line) for line in self.told(tmp_path).splitlines()]
        assert [line["metrics"]["train_loss"] for line in lines] == [2.0, 1.0]
