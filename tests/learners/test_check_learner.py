"""The contract of learners, as it is exported, on those of all sorts; and that it finds those that break it."""

import sys

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.learners.command import learner_from_command
from metaflow_hpo.learners.function import learner_from_function
from metaflow_hpo.learners.learner import Fidelity, Outcome
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.svm import SVM
from metaflow_hpo.modalities.opaque import read_opaque
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.space import SearchSpace
from metaflow_hpo.testing import check_learner

OPAQUE = read_opaque({"task_id": "made", "metric": "accuracy"})
SPACE = SearchSpace.read({"x": {"type": "float", "low": 0, "high": 1}})


def make_table():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=80), "b": rng.normal(size=80)})
    frame["y"] = np.where(frame["a"] > 0, "p", "q")
    return prepare_task(frame, task_id="t", target="y", source="test", licence="none", family="t")


def train(configuration, task, report):
    for step in range(1, report.fidelity + 1):
        report(step, configuration["x"] * step / report.fidelity)
    return configuration["x"]


@pytest.mark.parametrize("learner", [MLP(), SVM()], ids=["mlp", "svm"])
def test_learners_of_tables_keep_the_contract(learner):
    check_learner(learner, make_table(), fidelity=min(2, learner.fidelity.maximum))


def test_a_function_keeps_the_contract():
    check_learner(learner_from_function(train, SPACE, fidelity=3, workers=2), OPAQUE)


def test_a_command_keeps_the_contract(tmp_path):
    (tmp_path / "train.py").write_text("import json, sys\nprint(json.dumps({'score': float(sys.argv[1])}))\n")
    check_learner(learner_from_command([sys.executable, str(tmp_path / "train.py"), "{x}"], SPACE), OPAQUE)


class Broken:
    """Keeps the contract but for what a subclass breaks."""

    name, modalities, space, fidelity = "broken", (), SPACE, Fidelity("epochs", 2)

    def train(self, data, configurations, *, fidelity, seed, judge=None, refit=False):
        self.fidelity.check(fidelity)
        chosen = [self.space.validate(configuration) for configuration in configurations]
        return ((index, self.score(configuration)) for index, configuration in enumerate(chosen))

    def score(self, configuration):
        return Outcome(configuration["x"])


class Percent(Broken):
    def score(self, configuration):
        return Outcome(100 * configuration["x"])


class Drawn(Broken):
    calls = 0

    def score(self, configuration):
        Drawn.calls += 1
        return Outcome(Drawn.calls / 1000)


class Silent(Broken):
    def score(self, configuration):
        return Outcome(None)


class Lenient(Broken):
    def train(self, data, configurations, **options):
        return ((index, Outcome(0.5)) for index, _ in enumerate(configurations))


class Forgetful(Broken):
    def train(self, *args, **options):
        return iter(list(super().train(*args, **options))[1:])


class Failing(Broken):
    def score(self, configuration):
        return Outcome(reason="error: always")


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        (Percent(), "within the bounds of the metric"),
        (Drawn(), "the same outcome for the same seed"),
        (Silent(), "a finite performance, or a reason"),
        (Lenient(), "a wrong request is refused"),
        (Forgetful(), "each configuration once"),
        (Failing(), "a training that works"),
    ],
)
def test_what_breaks_the_contract_is_found(learner, message):
    check_learner(Broken(), OPAQUE)
    with pytest.raises(AssertionError, match=message):
        check_learner(learner, OPAQUE)
