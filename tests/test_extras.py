"""What the core needs, what extras add, and what is said where one is missing."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from metaflow_hpo.errors import MetaflowHPOError, MissingExtraError
from metaflow_hpo.extras import EXTRAS, has_package, naming_extras, require

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HEAVY = {"torch", "pytorch-lightning", "dagster", "mlflow", "dvc", "matplotlib", "hydra-core", "omegaconf", "hyperopt"}


def names(requirements):
    return {re.split(r"[\[<>=!~]", requirement)[0] for requirement in requirements}


def extra(name):
    """Return the packages of an extra, with those of the extras that it names."""
    found = set()
    for requirement in PROJECT["optional-dependencies"][name]:
        own = re.fullmatch(r"metaflow-hpo\[(.+)\]", requirement)
        found |= set().union(*map(extra, own[1].split(","))) if own else names([requirement])
    return found


def test_the_core_is_light_and_has_no_release_candidate():
    assert not names(PROJECT["dependencies"]) & HEAVY
    assert not [requirement for requirement in PROJECT["dependencies"] if "rc" in requirement.partition(">=")[2]]


def test_the_pipeline_and_developers_have_everything():
    assert extra("pipeline") >= HEAVY - {"hyperopt"}
    assert extra("dev") >= HEAVY | extra("pipeline") | extra("team")


@pytest.mark.parametrize("package", EXTRAS)
def test_the_extra_that_is_named_installs_the_package(package):
    assert package.replace("_", "-") in extra(EXTRAS[package])


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(EXTRAS, "no_such_package", "audio")
    assert not has_package("no_such_package")
    with (
        pytest.raises(
            MissingExtraError, match=r"no-such-package; it is not installed.*pip install 'metaflow-hpo\[audio\]'"
        ),
        naming_extras(),
    ):
        import no_such_package.inner  # noqa: F401
    with pytest.raises(MetaflowHPOError, match="no-such-package"):
        require("numpy", "no_such_package")


def test_other_missing_packages_are_what_they_are():
    with pytest.raises(ModuleNotFoundError, match="nobody_has_this"), naming_extras():
        import nobody_has_this  # noqa: F401


WITHOUT = f"""
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in {sorted(EXTRAS)} else find(name, *rest)
"""
SEARCH = """
import metaflow_hpo as hpo
space = {"x": {"type": "float", "low": 0, "high": 1}}
learner = hpo.learner_from_function(lambda c, task, report: c["x"], space, name="f")
task = {"task_id": "t", "metric": "accuracy"}
found = hpo.search(task, learner=learner, trials=3, past="grown.parquet", learn=True)
history = hpo.History.read("grown.parquet")
print(len(found.trials), history.task_ids)
"""


def test_a_search_needs_no_extra(tmp_path):
    environment = {**os.environ, "METAFLOW_HPO_DATA": str(tmp_path / "data")}
    command = [sys.executable, "-c", WITHOUT + SEARCH]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "3 ('t',)", done.stderr
