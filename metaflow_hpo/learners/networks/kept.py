"""A trained network as a person wants to keep it: items in, predictions out, saved without pickle.

It is the refit on all training items whose test performance `train` reports, number for number.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.array_files import check_finite, read_described, taking_apart, write_described
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.learners.devices import find_device
from metaflow_hpo.learners.folds import make_test_fold
from metaflow_hpo.learners.isolation import IsolatedLearner
from metaflow_hpo.learners.learner import Learner
from metaflow_hpo.learners.networks.encoder import Encoder
from metaflow_hpo.learners.networks.network_learner import Encodings, NetworkLearner
from metaflow_hpo.learners.predictions import read_class_names, show_classes
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.learners.threads import single_threaded_torch
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.modalities.registry import get_modality
from metaflow_hpo.space import Configuration

if TYPE_CHECKING:
    from torch import nn

_FILES = "network"
_REMEDY = "`metaflow-hpo train` writes them."
_WEIGHTS, _ENCODER = "weights.", "encoder."


@dataclass(frozen=True)
class TrainedItemNetwork:
    """A network with all around it that was learned from the training items.

    Attributes:
        learner: The learner that built it.
        modality: Of its items.
        configuration: Its hyperparameters.
        encoder: Turns prepared items into a tensor.
        network: Turns that into logits; on the CPU.
        class_names: By number.
    """

    learner: NetworkLearner[Any]
    modality: str
    configuration: Configuration
    encoder: Encoder
    network: "nn.Module"
    class_names: tuple[str, ...]

    def predict(self, x: NDArray[Any]) -> pd.DataFrame:
        """Predict items.

        Args:
            x: `(n, ...)` items as the modality prepares them (`Fold.x_valid`).

        Returns:
            `prediction` (the name of the class), and `probability_<class>` for each class; n rows.

        Raises:
            InvalidTaskError: If the items have another shape than those that were trained on.
        """
        from metaflow_hpo.learners.networks.training import predict_logits

        with single_threaded_torch():
            logits = predict_logits(self.network, self.encoder.encode(x)) if len(x) else None
        nothing = np.empty((0, len(self.class_names)))
        return show_classes(nothing if logits is None else logits.numpy(), self.class_names)

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and description (JSON) into an existing folder."""
        values, learned = self.encoder.to_state()
        weights = {name: tensor.numpy() for name, tensor in self.network.state_dict().items()}
        arrays = {_WEIGHTS + name: array for name, array in weights.items()}
        arrays |= {_ENCODER + name: array for name, array in learned.items()}
        description = {
            "learner": self.learner.name,
            "modality": self.modality,
            "configuration": dict(self.configuration),
            "encoder": dict(values),
            "class_names": list(self.class_names),
        }
        write_described(folder, _FILES, arrays, description)

    @classmethod
    def load(cls, folder: Path) -> "TrainedItemNetwork":
        """Read a network back.

        Raises:
            InvalidTableError: If the folder does not hold one.
        """
        import torch

        arrays, description = read_described(folder, _FILES, _REMEDY)
        learner = find_network_learner(get_learner(str(description.get("learner"))))
        if learner is None:
            raise InvalidTableError(f"Expected a network of items in {folder}; found another one. {_REMEDY}")
        with taking_apart(folder / f"{_FILES}.json", _REMEDY):
            check_finite(arrays)
            configuration = learner.space.validate(description["configuration"])
            encoder = learner.read_encoder(description["encoder"], _select(arrays, _ENCODER))
            names = read_class_names(description["class_names"])
            network = learner.draw_network(configuration, encoder, len(names))
            weights = {name: torch.tensor(array) for name, array in _select(arrays, _WEIGHTS).items()}
            try:
                network.load_state_dict(weights)
            except RuntimeError as error:  # PyTorch's word for other names or shapes
                raise ValueError(str(error)) from error
            return cls(learner, get_modality(description["modality"]).name, configuration, encoder, network, names)


def fit_item_network(
    learner: NetworkLearner[Any], data: ItemData, configuration: Configuration, *, seed: int, epochs: int
) -> TrainedItemNetwork | None:
    """Train a configuration on all training items of a task and keep the network.

    Args:
        learner: The learner, see `find_network_learner`.
        data: The task.
        configuration: A valid configuration of its space.
        seed: Seed of the trial whose refit this is.
        epochs: Its epochs.

    Returns:
        The network, or None where its training diverges.
    """
    fold = make_test_fold(data)
    return fit_on_fold(learner, fold, configuration, data.task.modality, data.class_names, seed=seed, epochs=epochs)


def fit_on_fold(
    learner: NetworkLearner[Any],
    fold: Fold,
    configuration: Configuration,
    modality: str,
    class_names: tuple[str, ...],
    *,
    seed: int,
    epochs: int,
) -> TrainedItemNetwork | None:
    """Train on the training items of a fold; see `fit_item_network`."""
    encodings = Encodings(learner, [fold], find_device(learner.device))
    with single_threaded_torch():
        training = learner.begin(encodings, 0, configuration, seed=seed, epochs=epochs)
        outcome = training.advance(epochs, np.zeros(1, np.int64))
    if outcome is None or outcome.reason:
        return None
    encoder, _ = encodings.get(0, configuration)
    return TrainedItemNetwork(learner, modality, configuration, encoder, training.network.cpu(), class_names)


def find_network_learner(learner: Learner) -> NetworkLearner[Any] | None:
    """Return the learner of networks that a learner is, or that it isolates; None where it is none."""
    inner = learner.learner if isinstance(learner, IsolatedLearner) else learner
    return inner if isinstance(inner, NetworkLearner) else None


def _select(arrays: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
