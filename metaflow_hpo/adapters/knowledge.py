"""The knowledge that ships with the package: past trials, their tasks, and the recommenders fitted on them.

That of tables lies in `metaflow_hpo/knowledge`, that of another modality in `metaflow_hpo/knowledge_<modality>`, that
of a learner collected on tasks of its own in `metaflow_hpo/knowledge_<learner>`, as parquet, safetensors and JSON,
written by `pack` and only read here; every file is compared with its md5 when it is read. Learning curves are in half
precision, performances and durations in single; hyperparameters and meta-features are exact, as configurations are
named by their content.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from metaflow_hpo.adapters.files import read_record, reading_parquet
from metaflow_hpo.adapters.versioning import find_changed
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.tables import SCORE_NAMES, TRIAL_COLUMNS, complete_catalogue, join_meta_dataset
from metaflow_hpo.task import TABLE

if TYPE_CHECKING:
    import pyarrow as pa

TRIALS_FILE = "trials.parquet"
CONFIGURATIONS_FILE = "configurations.parquet"
TASKS_FILE = "tasks.parquet"
PROVENANCE_FILE = "provenance.json"

CURVE_TOLERANCE = 2.0**-11
"""Relative rounding of learning curves; that of performances, scores and durations is 2^-24."""

_FOLDER = "knowledge"
_REMEDY = "The shipped knowledge is damaged: install metaflow-hpo again."
_COUNTED = ("tasks", "families", "trials", "learners", "meta_dataset_md5")
_SHOWN = 5


@dataclass(frozen=True)
class Knowledge:
    """A folder that `pack` has written.

    Attributes:
        folder: The folder.
    """

    folder: Path

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What it is and where it came from: counts, versions, settings, cost, the md5 of each file."""
        path = self.folder / PROVENANCE_FILE
        found = read_record(path, ["recommenders", "files", "package_version", *_COUNTED], remedy=_REMEDY)
        if not isinstance(found["recommenders"], list | dict) or not isinstance(found["files"], dict):
            raise InvalidTableError(f"Expected recommenders and the md5 of files in {path}. {_REMEDY}")
        return found

    @property
    def version(self) -> str:
        """Name of this knowledge in the lineage of a recommendation."""
        return f"shipped-{self.provenance['package_version']}"

    @property
    def summary(self) -> dict[str, Any]:
        """Counts and the md5 of the meta-data set, as `metaflow-hpo status` shows them."""
        return {name: self.provenance[name] for name in _COUNTED}

    def recommender_folder(self, learner: str) -> Path | None:
        """Return the folder of a learner's recommender, or None where the knowledge has none of it.

        Raises:
            InvalidTableError: If a file of it is missing or is not the one that was packed.
        """
        if learner not in self.provenance["recommenders"]:
            return None
        self._check(name for name in self.provenance["files"] if name.startswith(f"{learner}/"))
        return self.folder / learner

    def read_trials(self) -> pd.DataFrame:
        """Return all trials as the files of `search_results` hold them, all learners' `hp_` columns side by side."""
        configurations = self._read(CONFIGURATIONS_FILE)
        frame = self._read(TRIALS_FILE).merge(
            configurations, on=["learner", "configuration_id"], how="left", validate="many_to_one"
        )
        names = [str(name) for name in configurations.columns if str(name).startswith("hp_")]
        return frame[[*TRIAL_COLUMNS, *SCORE_NAMES, "learning_curve", *names, "task_sha256"]]

    def read_catalogue(self) -> pd.DataFrame:
        """Return the tasks with their licence, source and digest, one line a task."""
        frame = self._read(TASKS_FILE)
        return complete_catalogue(frame[[name for name in frame.columns if not str(name).startswith("mf_")]])

    def read_meta_features(self) -> pd.DataFrame:
        """Return `task_id`, `family`, the digest of the rows and the `mf_` columns, one line a task."""
        frame = self._read(TASKS_FILE).rename(columns={"sha256": "task_sha256"})
        names = [str(name) for name in frame.columns if str(name).startswith("mf_")]
        return frame[["task_id", "family", "task_sha256", *names]]

    def read_meta_dataset(self) -> pd.DataFrame:
        """Return the meta-data set: trials joined with the meta-features of their tasks."""
        return join_meta_dataset(self.read_trials(), self.read_meta_features())

    def verify(self) -> None:
        """Compare every file with its md5.

        Raises:
            InvalidTableError: If a file is missing or is not the one that was packed.
        """
        self._check(self.provenance["files"])

    def _check(self, names: Iterable[str]) -> None:
        packed: Mapping[str, str] = self.provenance["files"]
        expected = {name: packed[name] for name in names}
        missing = [name for name in expected if not (self.folder / name).is_file()]
        changed = [name for name in find_changed(self.folder, expected) if name not in missing]
        if missing or changed:
            raise InvalidTableError(
                f"Expected {len(expected)} files of {self.folder} as they were packed; "
                f"missing {missing[:_SHOWN]}, changed {changed[:_SHOWN]}. {_REMEDY}"
            )

    def _read(self, name: str) -> pd.DataFrame:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._check([name] if name in self.provenance["files"] else [])
        path = self.folder / name
        with reading_parquet(path, _REMEDY):
            table = pq.read_table(path, partitioning=None, page_checksum_verification=True)
        frame: pd.DataFrame = table.cast(pa.schema([_widen(field) for field in table.schema])).to_pandas()
        return frame


def _widen(field: "pa.Field") -> "pa.Field":
    """Return a column in the type it has in the data folder."""
    import pyarrow as pa

    if pa.types.is_dictionary(field.type):
        return field.with_type(field.type.value_type)
    if pa.types.is_list(field.type):
        return field.with_type(pa.list_(pa.float32()))
    if pa.types.is_floating(field.type):
        return field.with_type(pa.float64())
    return field.with_type(pa.int64()) if pa.types.is_integer(field.type) else field


def shipped_folder(name: str = TABLE) -> Path:
    """Return where the package keeps its knowledge of a modality or a learner, whether or not it was built with any."""
    return Path(str(files("metaflow_hpo"))) / (_FOLDER if name == TABLE else f"{_FOLDER}_{name}")


def find_shipped(learner: str) -> Knowledge | None:
    """Return what ships of a learner, or else of its modality, or else of tables; None where nothing does."""
    from metaflow_hpo.learners.registry import MODALITY_OF

    own = open_knowledge(shipped_folder(learner)) if learner in MODALITY_OF else None
    return own or open_knowledge(shipped_folder(MODALITY_OF.get(learner, TABLE)))


def open_knowledge(folder: Path | None = None) -> Knowledge | None:
    """Return the knowledge in a folder, or None where there is none.

    Args:
        folder: A folder that `pack` has written; that of the package's tables unless given.
    """
    chosen = shipped_folder() if folder is None else folder
    return Knowledge(chosen) if (chosen / PROVENANCE_FILE).is_file() else None


def open_shipped() -> dict[str, Knowledge]:
    """Return all knowledge of the package by modality or learner, that of tables first."""
    there = sorted(folder.name for folder in shipped_folder().parent.glob(f"{_FOLDER}_*"))
    names = [TABLE, *(name.removeprefix(f"{_FOLDER}_") for name in there)]
    opened = {name: open_knowledge(shipped_folder(name)) for name in names}
    return {name: knowledge for name, knowledge in opened.items() if knowledge is not None}


def count_trials(frame: pd.DataFrame) -> dict[str, Any]:
    """Return `tasks`, `families`, `trials` and the same by learner of a meta-data set, one line a trial."""
    learners = frame.groupby("learner")["task_id"].agg(["nunique", "size"])
    return {
        "tasks": int(frame["task_id"].nunique()),
        "families": int(frame["family"].nunique()),
        "trials": len(frame),
        "learners": {str(n): {"tasks": int(r["nunique"]), "trials": int(r["size"])} for n, r in learners.iterrows()},
    }
