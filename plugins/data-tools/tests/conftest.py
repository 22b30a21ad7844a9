from __future__ import annotations

import json

import pytest

from ftk.cli.main import main


@pytest.fixture
def write(tmp_path):
    def write(*rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def ftk(capsys, tmp_path, monkeypatch, tiny_model_dir):
    """``ftk("data", "show", ...)`` in a folder with ``run.yaml`` of a tiny model: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    text = f"model_name_or_path: {tiny_model_dir}\ntemplate: chatml\ndataset: rows.jsonl\noutput_dir: out\n"
    (tmp_path / "run.yaml").write_text(text)

    def run(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err and "this is a bug" not in err, err
        return stopped.value.code, out, err

    return run
