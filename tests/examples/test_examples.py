"""Every numbered example runs, and prints what it promises; none is longer than a screen."""

import importlib.util
import runpy
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
    "11_mlflow_runs": "rate",
    "12_ray_tune": "best:",
    "13_keras_tuner": "best:",
    "14_hugging_face": "best:",
}
NEEDED = {"09": ["pytorch_lightning"], "10": ["keras"], "11": ["mlflow"], "12": ["ray.tune"], "13": ["keras_tuner"]}
NEEDED |= {"14": ["transformers", "accelerate"]}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example, tmp_path, monkeypatch, capfd):
    for name in NEEDED.get(example.stem[:2], []):
        if importlib.util.find_spec(name.partition(".")[0]) is None:
            pytest.skip(f"{name} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    runpy.run_path(str(example), run_name="__main__")
    assert PROMISED[example.stem] in capfd.readouterr().out


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_no_longer_than_a_screen(example):
    assert len(example.read_text().splitlines()) < 60
