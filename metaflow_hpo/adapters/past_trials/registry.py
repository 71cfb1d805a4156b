"""The sources of past trials by name: those that come with the package, and those of entry points."""

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.past_trials.build import Imported, build
from metaflow_hpo.adapters.past_trials.source import FileSource, Source, TableSource, Wanted
from metaflow_hpo.errors import InvalidTableError

GROUP = "metaflow_hpo.past_trials"
_BUILT_IN = {
    "optuna": "optuna:OptunaSource",
    "mlflow": "mlflow:MlflowSource",
    "wandb": "wandb:WandbSource",
    "ray": "ray:RaySource",
    "keras-tuner": "keras_tuner:KerasTunerSource",
    "syne-tune": "syne_tune:SyneTuneSource",
    "smac": "smac:SmacSource",
    "hyperopt": "hyperopt:HyperoptSource",
    "tensorboard": "tensorboard:TensorboardSource",
    "sklearn": "sklearn:SklearnSource",
    "dvc": "dvc:DvcSource",
    "csv": "csv:CsvSource",
}
_PACKAGE = "metaflow_hpo.adapters.past_trials"


def source_names() -> tuple[str, ...]:
    """Return the names of all sources, those of other packages last."""
    added = sorted(point.name for point in entry_points(group=GROUP) if point.name not in _BUILT_IN)
    return (*_BUILT_IN, *added)


def get_source(name: str) -> Source:
    """Return a source by its name.

    Raises:
        InvalidTableError: If there is none.
    """
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        made: Source = getattr(import_module(f"{_PACKAGE}.{module}"), attribute)()
        return made
    for point in entry_points(group=GROUP):
        if point.name == name:
            added: Source = point.load()()
            return added
    raise InvalidTableError(f"Unknown source {name!r}; choose among {', '.join(source_names())}.")


def read_past_trials(name: str, address: Any, wanted: Wanted | None = None) -> Imported:
    """Read the trials of another tool.

    Args:
        name: One of `source_names`.
        address: File, folder, URL or, where the source takes it, a table or an object of the tool.
        wanted: What a person asks for.

    Raises:
        InvalidTableError: If there is no such source, there are no trials, or something must be asked.
    """
    wanted = wanted or Wanted()
    return build(get_source(name).read(address, wanted), wanted)


def _sources() -> Iterator[Source]:
    return (get_source(name) for name in source_names())


def find_table_source(table: pd.DataFrame) -> TableSource | None:
    """Return the source whose table this is by its columns; None where no tool is recognised."""
    columns = [str(column) for column in table.columns]
    return next((s for s in _sources() if isinstance(s, TableSource) and s.knows(columns)), None)


def find_file_source(path: Path) -> FileSource | None:
    """Return the source whose file or folder this is; None where no tool is recognised."""
    return next((s for s in _sources() if isinstance(s, FileSource) and s.knows_file(path)), None)
