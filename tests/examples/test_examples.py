"""Every numbered example runs, and prints what it promises; none is longer than a screen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import metaflow_hpo

EXAMPLES = sorted((Path(metaflow_hpo.__file__).parent / "examples").glob("[0-9]*.py"))
PROMISED = {
    "01_recommend": "try first:",
    "02_search_a_function": "best:",
    "03_search_a_command": "best:",
    "04_past_trials": "next:",
    "05_benchmark": "recommended",
    "06_own_strategy": "HillClimbing:",
    "07_optuna_sampler": "MetaSampler, mean of 5 seeds: first",
    "08_sklearn_search": "best:",
    "09_lightning_module": "best:",
    "10_keras_model": "best:",
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example, tmp_path):
    if "keras" in example.stem:
        pytest.importorskip("keras")
    environment = {**os.environ, "METAFLOW_HPO_DATA": str(tmp_path / "data")}
    command = [sys.executable, str(example)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert PROMISED[example.stem] in done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_no_longer_than_a_screen(example):
    assert len(example.read_text().splitlines()) < 60
