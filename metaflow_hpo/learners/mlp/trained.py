"""A trained network as a person wants to keep it: rows in, predictions out, saved without pickle.

It is the refit on all training rows whose test performance `train` reports, number for number.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.array_files import read_described, write_described
from metaflow_hpo.learners.fold import MAX_LOSS, FloatArray
from metaflow_hpo.learners.folds import make_test_fold
from metaflow_hpo.learners.mlp.recipe import draw_start, make_recipe
from metaflow_hpo.learners.predictions import show_classes
from metaflow_hpo.modalities.table.conform import TrainingColumn
from metaflow_hpo.modalities.table.preprocessing import Preprocessor, TargetScaler
from metaflow_hpo.modalities.table.styles import Style, style_from_json, style_to_json
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.space import Configuration

_FILES = "network"
MAX_CATEGORIES = 10_000
"""Categories of a column above which they are not kept: there new ones are no surprise."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A multi-layer perceptron with everything around it that was learned from the training rows.

    Attributes:
        preprocessor: Turns rows into `(n, D)` float32.
        widths: `(D, hidden..., outputs)`.
        activation: `relu` or `tanh`.
        parameters: Flat float32: for each layer the weights `(in, out)` row by row, then the bias `(out,)`.
        class_names: Names of the classes by number; empty for regression.
        target: Units of the target; None for classification.
        styles: How the numbers or dates of a column were written, where that was for people.
        categories: All categories of a column of text in the training rows, where there are at most `MAX_CATEGORIES`.
    """

    preprocessor: Preprocessor
    widths: tuple[int, ...]
    activation: str
    parameters: FloatArray
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
        outputs = self._pass(self.preprocessor.transform(features))  # (n, outputs)
        if self.target is not None:
            values = self.target.inverse(outputs[:, 0])
            return pd.DataFrame({"prediction": values}, index=features.index)
        return show_classes(outputs, self.class_names, features.index)

    def _pass(self, x: FloatArray) -> NDArray[np.float32]:
        """Pass rows `(n, D)` through the layers, without dropout; return `(n, outputs)`."""
        position, last = 0, len(self.widths) - 2
        for layer, (inputs, outputs) in enumerate(zip(self.widths[:-1], self.widths[1:], strict=True)):
            weights = self.parameters[position : position + inputs * outputs].reshape(inputs, outputs)
            position += inputs * outputs
            x = x @ weights + self.parameters[position : position + outputs]
            position += outputs
            if layer < last:
                x = np.maximum(x, 0) if self.activation == "relu" else np.tanh(x)
        return x

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and description (JSON) into an existing folder."""
        description: dict[str, Any] = {
            "preprocessor": self.preprocessor.to_json(),
            "widths": list(self.widths),
            "activation": self.activation,
            "class_names": list(self.class_names),
            "target": None if self.target is None else asdict(self.target),
            "styles": {name: style_to_json(style) for name, style in self.styles.items()},
            "categories": {name: list(categories) for name, categories in self.categories.items()},
        }
        write_described(folder, _FILES, {"parameters": self.parameters}, description)

    @classmethod
    def load(cls, folder: Path) -> "TrainedNetwork":
        """Read a network back.

        Raises:
            InvalidTableError: If the folder does not hold one.
        """
        arrays, description = read_described(folder, _FILES, "`metaflow-hpo train` writes them.")
        return cls(
            preprocessor=Preprocessor.from_json(description["preprocessor"]),
            widths=tuple(description["widths"]),
            activation=description["activation"],
            parameters=arrays["parameters"],
            class_names=tuple(description["class_names"]),
            target=None if description["target"] is None else TargetScaler(**description["target"]),
            # Networks that were kept before there were styles, or categories, have none.
            styles={name: style_from_json(style) for name, style in description.get("styles", {}).items()},
            categories={name: tuple(known) for name, known in description.get("categories", {}).items()},
        )


def fit_network(data: TableData, configuration: Configuration, *, seed: int, epochs: int) -> TrainedNetwork | None:
    """Train a configuration of the `mlp` on all training rows of a task and keep the network.

    Args:
        data: The task.
        configuration: A valid configuration of the `mlp`.
        seed: Seed of the trial whose refit this is.
        epochs: Its epochs.

    Returns:
        The network, or None where its training diverges.
    """
    from metaflow_hpo.caps import single_threaded_blas
    from metaflow_hpo.learners.mlp import numba_engine

    fold = make_test_fold(data)
    recipe = make_recipe(configuration, fold, epochs)
    start = draw_start(recipe, len(fold.x_train), seed, configuration, fold.number)
    numba_engine.warm_up()
    with single_threaded_blas():
        _, _, losses = numba_engine.train_parameters(start.parameters, fold, recipe, start)
    if not losses[-1] <= MAX_LOSS:
        return None
    regression = data.task.is_regression
    return TrainedNetwork(
        preprocessor=Preprocessor.fit(data.train_features),
        widths=recipe.widths,
        activation=recipe.activation,
        parameters=start.parameters,
        class_names=data.class_names,
        target=TargetScaler.fit(data.train_target.astype(np.float64)) if regression else None,
        styles={name: style for name, style in data.styles.items() if name in data.features.columns},
        categories=_find_categories(data.train_features),
    )


def _find_categories(features: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    found = {
        str(name): tuple(sorted(features[name].dropna().unique()))
        for name in features.columns
        if features[name].dtype == "str"
    }
    return {name: categories for name, categories in found.items() if len(categories) <= MAX_CATEGORIES}
