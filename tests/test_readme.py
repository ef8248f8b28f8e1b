"""The Python of the README runs, on the embedded network and fewer inputs than a ResNet needs."""

import re
from pathlib import Path

import numpy as np
import pytest

import jgaprune as jp

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.slow
def test_readme_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    weights = str(ROOT / "jgaprune" / "assets" / "digits_cnn.pth")
    names: dict = {}
    assert len(BLOCKS) == 2
    for block in BLOCKS:
        code = block
        for theirs, ours in (
            ('"cifar_resnet20", "resnet20.th"', f'"digits_cnn", "{weights}"'),
            ("sparsity=0.7", 'sparsity=0.7, preset="fast", num_inputs=64'),
            ("input_key, 512", "input_key, 64"),
        ):
            code = code.replace(theirs, ours)
        assert code != block
        exec(compile(code, "README.md", "exec"), names)
    assert (tmp_path / "pruned70" / "report.json").exists()
    assert "sparsity" in capsys.readouterr().out
    kept = sum(int(np.sum(mask)) for mask in names["masks"].values())
    assert kept == jp.masks.kept_for(0.8, names["layout"].num_weights)
    assert float(names["records"].best[-1]) <= float(names["record"].best)
