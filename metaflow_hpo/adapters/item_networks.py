"""A trained network of items together with what new items are brought to before it sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.files import read_record, write_json
from metaflow_hpo.adapters.logged_model import ITEM
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.learner import Learner
from metaflow_hpo.learners.networks.kept import TrainedItemNetwork, find_network_learner, fit_item_network
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.modality import Predicting
from metaflow_hpo.modalities.registry import get_modality
from metaflow_hpo.trial import Trial

FORM_FILE = "form.json"


@dataclass(frozen=True)
class KeptItemNetwork:
    """A network that predicts what people bring.

    Attributes:
        network: The network.
        form: What its modality says of how items look, see `Predicting.form`.
    """

    network: TrainedItemNetwork
    form: Mapping[str, Any]

    def predict_file(self, source: Path) -> pd.DataFrame:
        """Predict the items of a file or folder: `item`, `prediction` and `probability_<class>`, a line each.

        Raises:
            InvalidTaskError: If there are none, or one cannot be read.
        """
        found = self._modality().read_new(source, self.form)
        predicted = self.network.predict(found.arrays)
        predicted.insert(0, ITEM, list(found.names))
        return predicted

    def predict_sent(self, values: Sequence[Any]) -> pd.DataFrame:
        """Predict the items of a request: `prediction` and `probability_<class>`, a line each.

        Raises:
            InvalidTaskError: If one is no such item.
        """
        return self.network.predict(self._modality().take_new(values, self.form))

    def _modality(self) -> Predicting:
        modality = get_modality(self.network.modality)
        if not isinstance(modality, Predicting):
            raise MetaflowHPOError(f"Expected a modality that reads new items; {self.network.modality!r} does not.")
        return modality

    def save(self, folder: Path) -> None:
        """Write it into an existing folder."""
        self.network.save(folder)
        write_json(folder / FORM_FILE, dict(self.form))

    @classmethod
    def load(cls, folder: Path) -> "KeptItemNetwork":
        """Read it back.

        Raises:
            InvalidTableError: If the folder does not hold one.
        """
        form = read_record(folder / FORM_FILE, [], remedy="Train it again with `metaflow-hpo train`.")
        return cls(TrainedItemNetwork.load(folder), form)


def fit_kept(learner: Learner, data: ItemData, trial: Trial) -> KeptItemNetwork | None:
    """Train the network of a trial on all training items; None where its learner trains none, or it diverges."""
    chosen, modality = find_network_learner(learner), get_modality(data.task.modality)
    if chosen is None or not isinstance(modality, Predicting):
        return None
    network = fit_item_network(chosen, data, trial.configuration, seed=trial.seed, epochs=trial.fidelity)
    return None if network is None else KeptItemNetwork(network, modality.form(data))
