"""Learners for worker processes, which import them from this file: one misbehaves, one tells when it trains."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metaflow_hpo.learners.array_learner import ArrayLearner
from metaflow_hpo.learners.fold import FoldOutcome
from metaflow_hpo.learners.learner import Fidelity
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.space import Categorical, SearchSpace

ACTIONS = ("predict", "crash", "raise", "hang")


@dataclass(frozen=True)
class Wild(ArrayLearner):
    """Its configurations say what a training does; the curve is the number of the process."""

    name, modalities = "wild", ("table",)
    space = SearchSpace((Categorical("action", ACTIONS, "predict"),))
    fidelity = Fidelity()

    def measure_costs(self, folds, configurations, epochs):
        return np.ones((len(configurations), len(folds)))

    def train_folds(self, folds, configurations, *, seed, epochs, judge=None):
        for index, configuration in enumerate(configurations):
            yield index, [self.act(configuration["action"], fold) for fold in folds]

    def act(self, action, fold):
        match action:
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "raise":
                raise ZeroDivisionError("on purpose")
            case "hang":
                time.sleep(600)
        return FoldOutcome(fold.x_valid[:, 0] * 2, np.array([os.getpid()], np.float32), 0.1)


class Unborn(Wild):
    """It ends the process that unpickles it."""

    def __reduce__(self):
        return sys.exit, (7,)


@dataclass(frozen=True)
class Announced(MLP):
    """Writes the number of the process before it trains the configuration without dropout."""

    announcement: str = ""

    def train_folds(self, folds, configurations, *, seed, epochs, judge=None):
        if configurations[0]["dropout"] == 0:
            Path(self.announcement).write_text(str(os.getpid()))
        return super().train_folds(folds, configurations, seed=seed, epochs=epochs)
