"""Files of a person's own, in the folder in which the program is started, are found by module:attribute."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.outside.points import DIARY, write_points

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
PROGRAM = Path(sys.executable).with_name("metaflow-hpo")


@pytest.fixture
def folder(tmp_path):
    """A folder with the files, of which nothing is installed."""
    for path in HERE.glob("outside_*.py"):
        shutil.copy(path, tmp_path)
    return tmp_path


def call(folder, *arguments):
    environment = {**os.environ, "METAFLOW_HPO_DATA": str(folder / "data")}
    command = [str(PROGRAM), *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_learner_and_a_modality_are_searched_by_address(folder):
    write_points(folder / "some.points", 0)
    found = call(
        folder, "search", "some.points", "--modality", "outside_points:POINTS", "--learner",
        "outside_learner:NEAREST_CENTRE", "--strategy", "sobol", "--trials", "4", "--output", "found.parquet",
    )  # fmt: skip
    assert found["best"]["performance"] > 0.5
    trials = pd.read_parquet(folder / "found.parquet")
    assert trials["learner"].tolist() == ["nearest_centre"] * 4
    assert {"hp_shrinkage", "hp_power", "fidelity_passes"} <= set(trials.columns)


def test_a_strategy_proposes_by_address(folder):
    write_points(folder / "some.csv", 0)
    table = pd.read_csv(folder / "some.csv", sep=" ", names=["x", "y", "label"])
    table.assign(label=table["label"].map({0: "a", 1: "b", 2: "c"})).to_csv(folder / "some.csv", index=False)
    found = call(
        folder, "search", "some.csv", "--target", "label", "--learner", "svm", "--strategy",
        "outside_strategy:NearBest", "--trials", "4", "--output", "found.parquet",
    )  # fmt: skip
    assert found["strategy"] == "outside_strategy:NearBest"
    assert pd.read_parquet(folder / "found.parquet")["strategy"].tolist() == ["outside_strategy:NearBest"] * 4


def test_past_trials_are_imported_by_address(folder):
    (folder / "trials.diary").write_text(DIARY)
    said = call(folder, "import-trials", "outside_diary:Diary", "trials.diary", "--output", "past.parquet")
    assert said["tasks"] == {"monday": 3, "tuesday": 2}
    assert said["kept"] == {"ok": 4, "failed": 1}
    assert said["dropped"] == {"not finished": 1}
    assert [hp["name"] for hp in said["space"]] == ["lr", "opt"]
    assert pd.read_parquet(folder / "past.parquet")["hp_opt"].tolist() == ["sgd", "adam", "adam", "sgd", "adam"]
