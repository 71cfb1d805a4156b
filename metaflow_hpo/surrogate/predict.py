"""The fitted surrogate: cross-fitted networks and how to ask them.

Dimensions: S members over all asked networks, T tasks, N configurations, M meta-features, D encoded hyperparameters.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.array_files import read_described, taking_apart, write_described
from metaflow_hpo.caps import single_threaded_blas
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import Array
from metaflow_hpo.space import SearchSpace
from metaflow_hpo.surrogate.anchors import find_anchors
from metaflow_hpo.surrogate.targets import Standardiser
from metaflow_hpo.surrogate.trained_network import NetworkShape, TrainedNetwork

_FILES = "surrogate"


@dataclass(frozen=True)
class Prediction:
    """A distribution of performance for every (task, configuration).

    Attributes:
        scores: `(S, T, N)` rank score of each member, higher is better; only the order within a task means anything.
        positions: `(S, T, N)` where each member expects the performance between the task's worst (0) and best (1).
        mean: `(T, N)` expected performance.
        spread: `(T, N)` standard deviation of the performance: noise, disagreement of members, unknown worst and best.
    """

    scores: Array
    positions: Array
    mean: Array
    spread: Array


@dataclass(frozen=True)
class Surrogate:
    """f(T, theta) -> distribution of performance, as cross-fitted networks.

    Attributes:
        learner: Learner whose trials it was trained on.
        space: Search space of the learner.
        meta_feature_names: `(M,)` inputs, in order.
        networks: One ensemble a fold.
        standardisers: One a fold, fitted on that fold's meta-train tasks.
        fold_of_family: The fold in which a family is meta-test; network `j` was stopped early on fold `j + 1`.
        knows_ends: Whether worst and best performance of a task were learned; otherwise means and spreads of a
            prediction say nothing, only scores and positions do.
    """

    learner: str
    space: SearchSpace
    meta_feature_names: tuple[str, ...]
    networks: tuple[TrainedNetwork, ...]
    standardisers: tuple[Standardiser, ...]
    fold_of_family: dict[str, int]
    knows_ends: bool = True

    def networks_blind_to(self, family: str, *, validation: bool = False) -> tuple[int, ...]:
        """Return the networks that may be asked about a family.

        Args:
            family: The family; one that was never seen may be asked of all networks.
            validation: Return the network that used the family for early stopping instead of the one that never saw it.
        """
        if family not in self.fold_of_family:
            return tuple(range(len(self.networks)))
        fold = self.fold_of_family[family]
        return ((fold - 1) % len(self.networks) if validation else fold,)

    def predict(self, meta_features: Array, encoded: Array, networks: Sequence[int] | None = None) -> Prediction:
        """Predict every configuration on every task.

        Args:
            meta_features: `(T, M)` raw meta-features in the order of `meta_feature_names`.
            encoded: `(N, D)` encoded configurations.
            networks: Positions of the networks to ask; all unless given.

        Raises:
            InvalidTableError: If the number of meta-features is not the one it was trained with.
        """
        if meta_features.ndim != 2 or meta_features.shape[1] != len(self.meta_feature_names):
            raise InvalidTableError(
                f"Expected meta-features of shape (tasks, {len(self.meta_feature_names)}); got {meta_features.shape}."
            )
        asked = range(len(self.networks)) if networks is None else networks
        anchors = find_anchors(meta_features, self.meta_feature_names)
        parts = [self._predict_one(j, meta_features, anchors, encoded) for j in asked]
        scores, positions, means, variances = (
            np.concatenate(values) for values in zip(*parts, strict=True)
        )  # (S, T, N)
        return Prediction(scores, positions, means.mean(axis=0), np.sqrt(variances.mean(axis=0) + means.var(axis=0)))

    def _predict_one(
        self, j: int, meta_features: Array, anchors: Array, encoded: Array
    ) -> tuple[Array, Array, Array, Array]:
        """Return scores, positions, means and variances of the members of network `j`, each `(S, T, N)`."""
        t = self.standardisers[j].transform(meta_features).astype(np.float32)
        network = self.networks[j]
        with single_threaded_blas():  # bits must not depend on the number of threads
            score, p, log_spread = network.predict(t, encoded.astype(np.float32))
            ends = network.ends(t, anchors.astype(np.float32))[:, :, None, :]  # (S, T, 1, 4)
        sd = np.exp(log_spread)
        worst, best, worst_sd, best_sd = ends[..., 0], ends[..., 1], np.exp(ends[..., 2]), np.exp(ends[..., 3])
        width = np.maximum(best - worst, 0.0)
        mean = worst + width * p
        variance = (width * sd) ** 2 + (worst_sd * (1 - p)) ** 2 + (best_sd * p) ** 2
        return score, p, mean, variance

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return weights and standardisers by name, for safetensors."""
        arrays: dict[str, NDArray[Any]] = {}
        for j, (network, standardiser) in enumerate(zip(self.networks, self.standardisers, strict=True)):
            arrays.update({f"network.{j}.{name}": value for name, value in network.weights.items()})
            arrays[f"standardiser.{j}.center"] = standardiser.center
            arrays[f"standardiser.{j}.scale"] = standardiser.scale
            if len(standardiser.indicated):
                arrays[f"standardiser.{j}.indicated"] = standardiser.indicated
        return arrays

    def to_json(self) -> dict[str, Any]:
        """Return everything but the weights as JSON-ready values."""
        return {
            "learner": self.learner,
            "space": self.space.to_json(),
            "meta_feature_names": list(self.meta_feature_names),
            "shape": asdict(self.networks[0].shape),
            "folds": len(self.networks),
            "fold_of_family": self.fold_of_family,
            **({} if self.knows_ends else {"knows_ends": False}),
        }

    @classmethod
    def from_parts(cls, description: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "Surrogate":
        """Build a surrogate from what `to_json` and `to_arrays` returned.

        Raises:
            InvalidTableError: If its networks have another form than those of this version.
        """
        if set(description["shape"]) != {field.name for field in fields(NetworkShape)}:
            raise InvalidTableError(
                f"Expected networks of the form {[f.name for f in fields(NetworkShape)]}; found "
                f"{sorted(description['shape'])}: another version of metaflow_hpo made them. Run `metaflow-hpo fit`."
            )
        networks, standardisers = [], []
        shape = NetworkShape(**description["shape"])
        for j in range(description["folds"]):
            prefix = f"network.{j}."
            weights = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            networks.append(TrainedNetwork(shape, weights))
            names = [name for name in ("center", "scale", "indicated") if f"standardiser.{j}.{name}" in arrays]
            standardisers.append(Standardiser(**{name: arrays[f"standardiser.{j}.{name}"] for name in names}))
        return cls(
            learner=description["learner"],
            space=SearchSpace.from_json(description["space"]),
            meta_feature_names=tuple(description["meta_feature_names"]),
            networks=tuple(networks),
            standardisers=tuple(standardisers),
            fold_of_family=dict(description["fold_of_family"]),
            knows_ends=bool(description.get("knows_ends", True)),
        )


def save_surrogate(surrogate: Surrogate, folder: Path) -> None:
    """Write weights (safetensors) and description (JSON) into an existing folder."""
    write_described(folder, _FILES, surrogate.to_arrays(), surrogate.to_json())


def load_surrogate(folder: Path) -> Surrogate:
    """Read a surrogate back.

    Raises:
        InvalidTableError: If the folder does not hold one.
    """
    arrays, description = read_described(folder, _FILES, "run `metaflow-hpo fit` first.")
    broken = sorted(name for name, array in arrays.items() if not np.isfinite(array).all())
    if broken:
        raise InvalidTableError(
            f"Expected finite weights in {folder / _FILES}.safetensors; {broken[:3]} are not. Run `metaflow-hpo fit`."
        )
    with taking_apart(folder / f"{_FILES}.json", "Run `metaflow-hpo fit`."):
        surrogate = Surrogate.from_parts(description, arrays)
        _check_answers(surrogate)
    return surrogate


def _check_answers(surrogate: Surrogate) -> None:
    """Ask for one configuration of one task, of which nothing is known: the weights must fit each other and the space.

    Raises:
        ValueError: There is no answer, or one that is not finite.
    """
    nothing = np.full((1, len(surrogate.meta_feature_names)), np.nan)
    asked = surrogate.space.encode([surrogate.space.default])
    found = surrogate.predict(nothing, asked, range(len(surrogate.networks)))
    if not surrogate.networks or not all(np.isfinite(getattr(found, f.name)).all() for f in fields(found)):
        raise ValueError("finite answers were expected")
