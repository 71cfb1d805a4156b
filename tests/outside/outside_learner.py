"""A learner outside the package: the nearest of the classes' centres, on any data that can be made arrays."""

import time

import numpy as np

from metaflow_hpo.learners.learner import Fidelity, Outcome
from metaflow_hpo.modalities.registry import get_array_modality
from metaflow_hpo.space import Float, Integer, SearchSpace


class NearestCentre:
    """Centres drawn towards the middle, distances to some power."""

    name, modalities, fidelity = "nearest_centre", ("points",), Fidelity("passes", 1)
    space = SearchSpace((Float("shrinkage", 0.0, 1.0, 0.5), Integer("power", 1, 4, 2)))

    def train(self, data, configurations, *, fidelity, seed, judge=None, refit=False):
        self.fidelity.check(fidelity)
        chosen = [self.space.validate(configuration) for configuration in configurations]
        return self._train(data, chosen, refit)

    def _train(self, data, chosen, refit):
        modality = get_array_modality(data.task.modality)
        splits = modality.split(data)
        folds = [modality.prepare(data, split, number) for number, split in enumerate(splits.validation)]
        test = modality.prepare(data, splits.test, len(folds))
        for position, configuration in enumerate(chosen):
            started = time.perf_counter()
            accuracies = [self._score(fold, configuration) for fold in folds]
            yield (
                position,
                Outcome(
                    performance=float(np.mean(accuracies)),
                    test_performance=self._score(test, configuration) if refit else None,
                    scores={"accuracy": float(np.mean(accuracies))},
                    duration_s=time.perf_counter() - started,
                ),
            )

    def _score(self, fold, configuration):
        centres = np.array([fold.x_train[fold.y_train == c].mean(axis=0) for c in range(fold.classes)])
        centres += configuration["shrinkage"] * (fold.x_train.mean(axis=0) - centres)
        distances = (np.abs(fold.x_valid[:, None, :] - centres) ** configuration["power"]).sum(axis=2)
        return float((distances.argmin(axis=1) == fold.y_valid).mean())


NEAREST_CENTRE = NearestCentre()
