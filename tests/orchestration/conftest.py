"""One finished project, made once by the main job on real tasks with small budgets."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import pytest

from metaflow_hpo import cli
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.orchestration.main_job import run_main_job
from metaflow_hpo.orchestration.resources import PipelineResource
from metaflow_hpo.settings import Settings
from tests.conftest import stop_early

SMALL = {
    "METAFLOW_HPO_TASKS": '["iris", "wine", "zoo", "servo", "glass", "yacht"]',
    "METAFLOW_HPO_CORE_TRIALS": "10",
    "METAFLOW_HPO_RANDOM_TRIALS": "4",
    "METAFLOW_HPO_FIDELITY_EPOCHS": "3",
    "METAFLOW_HPO_FOLDS": "3",
    "METAFLOW_HPO_ACCELERATOR": "cpu",
    "METAFLOW_HPO_LEARN": "false",  # the project is shared: what one test trains must not join the history of others
}


class Project:
    """A data folder, the settings that point to it and the Dagster instance that filled it."""

    def __init__(self, data: Path, instance: dg.DagsterInstance) -> None:
        self.data = data
        self.instance = instance
        self.variables = {**SMALL, "METAFLOW_HPO_DATA": str(data)}
        self.environment = {**os.environ, **self.variables}

    def pipeline(self) -> Pipeline:
        return Pipeline(Settings())


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    (root / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(root / "dagster")) as instance:
        made = Project(root / "data", instance)
        with pytest.MonkeyPatch.context() as patch:
            set_variables(patch, made)
            stop_early(patch)
            assert run_main_job(instance, PipelineResource())
        yield made


@pytest.fixture
def project(finished_project, monkeypatch):
    """The finished project, with its settings in the environment of this test alone."""
    set_variables(monkeypatch, finished_project)
    return finished_project


def set_variables(patch: pytest.MonkeyPatch, project: Project) -> None:
    for name, value in project.variables.items():
        patch.setenv(name, value)


class Said(NamedTuple):
    """How the program ended, and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(capfd, monkeypatch):
    """Run the program in this process, which has imported everything: the same answer, some seconds earlier."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["metaflow-hpo", *map(str, arguments)])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `main` sets its own
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Said(ended.value.code, *capfd.readouterr())

    return run
