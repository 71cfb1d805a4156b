"""Opaque tasks in the inbox, and a learner of a person's own, go through every asset and check."""

import json
from pathlib import Path

import dagster as dg
import pytest

from metaflow_hpo.adapters import landed
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.orchestration.main_job import run_main_job
from metaflow_hpo.orchestration.partitions import TASKS
from metaflow_hpo.orchestration.resources import PipelineResource
from metaflow_hpo.settings import Settings

CODE = """
from metaflow_hpo.learners.function import learner_from_function


def train(configuration, task, report):
    return 1.0 - (configuration["x"] - float(task.address)) ** 2


slope = learner_from_function(
    train, {"x": {"type": "float", "low": 0.0, "high": 1.0}}, name="slope", modalities=("opaque",)
)
"""


def test_every_asset_is_materialised_for_opaque_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_template: Path
) -> None:
    monkeypatch.setattr(landed, "SETTLED_S", 0.0)
    data = tmp_path / "data"
    for folder in (data / "mlflow", data / "inbox", tmp_path / "dagster"):
        folder.mkdir(parents=True)
    (data / "mlflow" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    (tmp_path / "slope_module.py").write_text(CODE)
    for t in range(4):
        text = f"metric: accuracy\ndata: '{0.2 + 0.02 * t}'\nmeta_features: {{at: {t}}}\nlicence: CC0\n"
        (data / "inbox" / f"hill_{t}.yaml").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    variables = {"DATA": str(data), "TASKS": "[]", "LEARNER": "slope_module:slope", "CORE_TRIALS": "8"}
    for name, value in {**variables, "RANDOM_TRIALS": "4"}.items():
        monkeypatch.setenv(f"METAFLOW_HPO_{name}", value)
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        assert run_main_job(instance, PipelineResource())
        assert instance.get_dynamic_partitions(TASKS) == [f"hill_{t}" for t in range(4)]
    pipeline = Pipeline(Settings(learner="slope"))
    champion = pipeline.registry.require_champion()
    assert champion.name == "metaflow_hpo_surrogate.slope"
    assert "Passed." in str(pipeline.registry.version(champion.version).description)
    record = json.loads((data / "learners" / "slope" / "champion.json").read_text())
    assert (record["version"], record["promoted"]) == (1, True)
    assert not (data / "champion.json").exists()
