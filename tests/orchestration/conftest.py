"""One finished project, made once by the main job on real tasks with small budgets."""

import os
from pathlib import Path

import dagster as dg
import pytest

from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.orchestration.main_job import run_main_job
from metaflow_hpo.orchestration.resources import PipelineResource
from metaflow_hpo.settings import Settings

SMALL = {
    "METAFLOW_HPO_TASKS": '["iris", "wine", "zoo", "servo", "glass", "yacht"]',
    "METAFLOW_HPO_CORE_TRIALS": "10",
    "METAFLOW_HPO_RANDOM_TRIALS": "4",
    "METAFLOW_HPO_FIDELITY_EPOCHS": "3",
    "METAFLOW_HPO_FOLDS": "3",
    "METAFLOW_HPO_ACCELERATOR": "cpu",
}


class Project:
    """A data folder, the environment that points to it and the Dagster instance that filled it."""

    def __init__(self, data: Path, instance: dg.DagsterInstance) -> None:
        self.data = data
        self.instance = instance
        self.environment = {**os.environ, **SMALL, "METAFLOW_HPO_DATA": str(data)}

    def pipeline(self) -> Pipeline:
        return Pipeline(Settings())


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    (root / "dagster").mkdir()
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.local_temp(str(root / "dagster")) as instance:
        for name, value in {**SMALL, "METAFLOW_HPO_DATA": str(root / "data")}.items():
            patch.setenv(name, value)
        made = Project(root / "data", instance)
        assert run_main_job(instance, PipelineResource())
        yield made
