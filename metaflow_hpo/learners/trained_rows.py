"""A trained network as a person wants to keep it: rows in, predictions out, saved without pickle.

It is the refit on all training rows whose test performance `train` reports, number for number.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.array_files import check_finite, read_described, taking_apart, write_described
from metaflow_hpo.caps import single_threaded_blas
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.learners.fold import FloatArray
from metaflow_hpo.learners.folds import make_test_fold
from metaflow_hpo.learners.predictions import read_class_names, show_classes
from metaflow_hpo.modalities.table.conform import TrainingColumn
from metaflow_hpo.modalities.table.preprocessing import Preprocessor, TargetScaler
from metaflow_hpo.modalities.table.styles import Style, style_from_json, style_to_json
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.space import Configuration
from metaflow_hpo.text_columns import is_text

KEPT = {"mlp": "metaflow_hpo.learners.mlp.network", "realmlp": "metaflow_hpo.learners.realmlp.network"}
"""Learners of tables whose networks are kept, and the modules with their `fit` and `read`."""

_FILES = "network"
_REMEDY = "`metaflow-hpo train` writes them."
MAX_CATEGORIES = 10_000
"""Categories of a column above which they are not kept: there new ones are no surprise."""


class RowNetwork(Protocol):
    """A network after its training, as `fit` of its module returns it and `read` reads it back."""

    def compute(self, x: FloatArray) -> NDArray[np.float32]:
        """Return logits `(n, classes)`, or `(n, 1)` standardised targets, of prepared rows `(n, D)`."""

    def to_state(self) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Return what makes it again: values that JSON can hold, and arrays by name."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with everything around it that was learned from the training rows.

    Attributes:
        preprocessor: Turns rows into `(n, D)` float32.
        learner: What trained it, a name of `KEPT`.
        network: Turns these into logits, or standardised targets.
        class_names: Names of the classes by number; empty for regression.
        target: Units of the target; None for classification.
        styles: How the numbers or dates of a column were written, where that was for people.
        categories: All categories of a column of text in the training rows, where there are at most `MAX_CATEGORIES`.
    """

    preprocessor: Preprocessor
    learner: str
    network: RowNetwork
    class_names: tuple[str, ...]
    target: TargetScaler | None
    styles: Mapping[str, Style] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[TrainingColumn, ...]:
        """What the training rows say of each column, by which new rows are read."""
        encoder = self.preprocessor
        return tuple(
            TrainingColumn(
                name,
                name in encoder.numeric_names,
                style=self.styles.get(name),
                is_truth=name in encoder.truth_names,
                categories=self.categories.get(name),
            )
            for name in encoder.column_names
        )

    def predict(self, features: pd.DataFrame) -> pd.DataFrame:
        """Predict rows.

        Args:
            features: `(n, columns)` cleaned columns, those of the training rows.

        Returns:
            `prediction` (the name of the class, or the target in its own units), and for classification
            `probability_<class>` for each class; n rows, the index of `features`.
        """
        outputs = self.network.compute(self.preprocessor.transform(features))  # (n, outputs)
        if self.target is not None:
            values = self.target.inverse(outputs[:, 0])
            return pd.DataFrame({"prediction": values}, index=features.index)
        return show_classes(outputs, self.class_names, features.index)

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and description (JSON) into an existing folder."""
        values, arrays = self.network.to_state()
        description: dict[str, Any] = {
            **values,
            "learner": self.learner,
            "preprocessor": self.preprocessor.to_json(),
            "class_names": list(self.class_names),
            "target": None if self.target is None else asdict(self.target),
            "styles": {name: style_to_json(style) for name, style in self.styles.items()},
            "categories": {name: list(categories) for name, categories in self.categories.items()},
        }
        write_described(folder, _FILES, arrays, description)

    @classmethod
    def load(cls, folder: Path) -> "TrainedNetwork":
        """Read a network back.

        Raises:
            InvalidTableError: If the folder does not hold one.
        """
        arrays, description = read_described(folder, _FILES, _REMEDY)
        learner = str(description.get("learner", "mlp"))  # which was the only one once
        if learner not in KEPT:
            raise InvalidTableError(f"Expected a network of rows in {folder}; found one of {learner}. {_REMEDY}")
        with taking_apart(folder / f"{_FILES}.json", _REMEDY):
            loaded = cls(
                preprocessor=Preprocessor.from_json(description["preprocessor"]),
                learner=learner,
                network=import_module(KEPT[learner]).read(description, arrays),
                class_names=read_class_names(description["class_names"], is_regression=bool(description["target"])),
                target=None if description["target"] is None else TargetScaler(**description["target"]),
                # Networks that were kept before there were styles, or categories, have none.
                styles={name: style_from_json(style) for name, style in description.get("styles", {}).items()},
                categories={name: tuple(known) for name, known in description.get("categories", {}).items()},
            )
            loaded._check(arrays)
        return loaded

    def _check(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Refuse weights that are not finite, or do not fit the columns and the classes."""
        check_finite(arrays)
        rows = np.zeros((1, len(self.preprocessor.feature_names)), np.float32)
        found, expected = self.network.compute(rows).shape, (1, len(self.class_names) or 1)
        if found != expected:
            raise ValueError(f"outputs of the shape {expected} were expected; found {found}")


def fit_network(
    data: TableData, learner: str, configuration: Configuration, *, seed: int, epochs: int
) -> TrainedNetwork | None:
    """Train a configuration on all training rows of a task and keep the network.

    Args:
        data: The task.
        learner: A name of `KEPT`.
        configuration: A valid configuration of it.
        seed: Seed of the trial whose refit this is.
        epochs: Its epochs.

    Returns:
        The network, or None where its training diverges.
    """
    with single_threaded_blas():
        network = import_module(KEPT[learner]).fit(make_test_fold(data), configuration, seed=seed, epochs=epochs)
    if network is None:
        return None
    regression = data.task.is_regression
    return TrainedNetwork(
        preprocessor=Preprocessor.fit(data.train_features),
        learner=learner,
        network=network,
        class_names=data.class_names,
        target=TargetScaler.fit(data.train_target.astype(np.float64)) if regression else None,
        styles={name: style for name, style in data.styles.items() if name in data.features.columns},
        categories=_find_categories(data.train_features),
    )


def _find_categories(features: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    found = {
        str(name): tuple(sorted(features[name].dropna().unique()))
        for name in features.columns
        if is_text(features[name])
    }
    return {name: categories for name, categories in found.items() if len(categories) <= MAX_CATEGORIES}
