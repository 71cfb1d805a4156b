"""The files of `data/`: one writer for each path, atomic and validated."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.files import (
    locked,
    read_column,
    read_frame,
    write_atomically,
    write_frame,
    write_json,
)
from metaflow_hpo.adapters.kept_trials import SHA256, KeptTrials, join, read_table, to_frame
from metaflow_hpo.errors import UnknownTaskError
from metaflow_hpo.modalities.registry import get_modality
from metaflow_hpo.tables import (
    CONFIGURATION,
    complete_catalogue,
    join_meta_dataset,
    tasks_to_frame,
    validate_meta_features,
)
from metaflow_hpo.task import TABLE, Task, TaskData
from metaflow_hpo.trial import Trial

DEFAULT_LEARNER = "mlp"
"""The learner whose files lie in the data folder itself; those of another one lie in `learners/<name>/`."""
TABLE_SUFFIX = ".parquet"
"""Ending of prepared tables; those of other tasks end in the name of their modality."""


@dataclass(frozen=True)
class DataStore:
    """Reads and writes everything below one folder.

    Attributes:
        data: The folder, usually `data/`.
        learner: Whose history, candidate, evaluation and champion are meant; tasks, searches and meta-features are
            shared by all learners.
    """

    data: Path
    learner: str = DEFAULT_LEARNER

    @property
    def learned(self) -> Path:
        """Folder of what was learned about the learner."""
        return self.data if self.learner == DEFAULT_LEARNER else self.data / "learners" / self.learner

    @property
    def catalogue_path(self) -> Path:
        """Table of tasks."""
        return self.data / "catalogue.parquet"

    @property
    def meta_dataset_path(self) -> Path:
        """Trials joined with meta-features."""
        return self.learned / "meta_dataset.parquet"

    @property
    def surrogate_folder(self) -> Path:
        """The candidate: weights, past tasks, lineage."""
        return self.learned / "surrogate"

    @property
    def knowledge_report_path(self) -> Path:
        """The page that shows the meta-data."""
        return self.learned / "knowledge.html"

    @property
    def evaluation_folder(self) -> Path:
        """Tables and plots of the evaluation."""
        return self.learned / "evaluation"

    @property
    def champion_path(self) -> Path:
        """Which version is served, and why."""
        return self.learned / "champion.json"

    @property
    def candidate_path(self) -> Path:
        """Which version was fitted last, and on what."""
        return (self.data / "mlflow" if self.learner == DEFAULT_LEARNER else self.learned) / "candidate.json"

    @property
    def inbox(self) -> Path:
        """Folder where people drop their own files."""
        return self.data / "inbox"

    @property
    def quarantine(self) -> Path:
        """Folder of what was dropped into the inbox and is no new task, with the reasons."""
        return self.data / "quarantine"

    def task_path(self, task_id: str) -> Path:
        """The prepared data of one task, as its modality keeps them."""
        there = [path for path in self.data.glob(f"tasks/{task_id}.*") if path.stem == task_id]
        return there[0] if there else self._task_path(task_id, TABLE)

    def _task_path(self, task_id: str, modality: str) -> Path:
        return self.data / "tasks" / f"{task_id}{TABLE_SUFFIX if modality == TABLE else f'.{modality}'}"

    def search_results_path(self, task_id: str) -> Path:
        """Trials of one task."""
        return self.data / "search_results" / f"{task_id}.parquet"

    def meta_features_path(self, task_id: str) -> Path:
        """Meta-features of one task."""
        return self.data / "meta_features" / f"{task_id}.parquet"

    @property
    def _kept(self) -> KeptTrials:
        """Trials of running searches, and of rows that a task had before."""
        return KeptTrials(self.data / "kept_trials")

    def write_catalogue(self, tasks: Sequence[TaskData]) -> pd.DataFrame:
        """Write one prepared file a task, then the catalogue; prepared files that have not changed are left alone."""
        kept = [self._keep_task(data) for data in tasks]
        frame = tasks_to_frame(data.task for data in tasks).sort_values("task_id", ignore_index=True)
        write_frame(self.catalogue_path, frame)
        for path in set(self._task_paths()) - set(kept):
            path.unlink()
        return self.read_catalogue()

    def _keep_task(self, data: TaskData) -> Path:
        """Return the prepared file of a task, written where it is not there as it is."""
        modality, path = get_modality(data.task.modality), self._task_path(data.task.task_id, data.task.modality)
        if not path.is_file() or modality.load(path).task != data.task:
            write_atomically(path, lambda temporary: modality.save(data, temporary))
        return path

    def _task_paths(self) -> list[Path]:
        return sorted(path for path in self.data.glob("tasks/*.*") if not path.name.startswith("."))

    def read_catalogue(self) -> pd.DataFrame:
        """Return the catalogue, one line a task."""
        frame = read_frame(self.catalogue_path, remedy="Run `metaflow-hpo step dataset_catalogue` first.")
        return complete_catalogue(frame)

    def task_ids(self, max_rows: int | None = None, modalities: Collection[str] = ()) -> list[str]:
        """Return the tasks of the catalogue, sorted.

        Args:
            max_rows: Leave those of more rows out.
            modalities: Leave those of others out; none for all.
        """
        catalogue = self.read_catalogue()
        if max_rows is not None:
            catalogue = catalogue.loc[catalogue["rows"] <= max_rows]
        if modalities:
            catalogue = catalogue.loc[catalogue["modality"].isin(modalities)]
        return [str(task_id) for task_id in catalogue["task_id"]]

    def read_task(self, task_id: str) -> TaskData:
        """Return one prepared task.

        Raises:
            UnknownTaskError: If the catalogue does not hold it.
        """
        path = self.task_path(task_id)
        if not path.is_file():
            known = [path.stem for path in self._task_paths()]
            raise UnknownTaskError(f"No task {task_id!r} in {self.data}; it holds {known[:10]} ({len(known)} in all).")
        return get_modality(TABLE if path.suffix == TABLE_SUFFIX else path.suffix[1:]).load(path)

    def read_trials(self, task: Task) -> list[Trial]:
        """Return the trials of a task, of all learners, those of an interrupted search included.

        Trials of rows that have changed since are left out; those of rows that are there again are not.
        """
        return join([], self._kept.read_trials(task), read_table(self.search_results_path(task.task_id), task))

    def is_searched(self, task: Task) -> bool:
        """Tell whether the table of a task holds its trials, and none waits to become part of it."""
        path = self.search_results_path(task.task_id)
        return not self._kept.has_journal(task) and path.is_file() and set(read_column(path, SHA256)) == {task.sha256}

    def append_trial(self, task: Task, trial: Trial) -> None:
        """Keep a finished trial before the search goes on."""
        self._kept.append_trial(task, trial)

    def write_trials(self, task: Task, trials: Sequence[Trial]) -> pd.DataFrame:
        """Write the finished table: `trials`, then those of other searches; one of other rows is kept aside."""
        path = self.search_results_path(task.task_id)
        with locked(self._kept.folder):
            self._keep_aside(path, task)
            frame = to_frame(task, join(trials, self.read_trials(task)))
            write_frame(path, frame)
            self._kept.drop(task)
        return frame

    def _keep_aside(self, path: Path, task: Task) -> None:
        """Move a table of rows that the task had before out of the way."""
        if path.is_file():
            digests = set(read_column(path, SHA256, remedy="Delete it and search again."))
            if digests != {task.sha256}:
                self._kept.keep(path, replace(task, sha256=str(digests.pop())))

    def write_meta_features(self, task: Task, values: dict[str, float], duration_s: float) -> pd.DataFrame:
        """Write the meta-features of a task, one line."""
        line = {
            "task_id": task.task_id,
            "family": task.family,
            "duration_s": duration_s,
            SHA256: task.sha256,
            **values,
        }
        frame = validate_meta_features(pd.DataFrame([line]))
        write_frame(self.meta_features_path(task.task_id), frame)
        return frame

    def has_meta_features(self, task: Task, names: Sequence[str]) -> bool:
        """Tell whether the meta-features of these very rows are there, all of them."""
        path = self.meta_features_path(task.task_id)
        if not path.is_file():
            return False
        frame = read_frame(path, remedy="Delete it and describe the task again.")
        return set(names) <= set(frame.columns) and list(frame[SHA256]) == [task.sha256]

    def is_collected(self, task_id: str) -> bool:
        """Tell whether a task was searched and described, on whatever rows."""
        return self.search_results_path(task_id).is_file() and self.meta_features_path(task_id).is_file()

    def waiting_tasks(self, task_ids: Sequence[str] | None = None) -> list[str]:
        """Return the tasks of the catalogue without a search or a description of their present rows, sorted.

        Args:
            task_ids: Only these; all unless given.
        """
        digests = self.read_catalogue().set_index("task_id")["sha256"]
        digests = digests if task_ids is None else digests.loc[digests.index.isin(task_ids)]
        return sorted(str(task_id) for task_id, sha256 in digests.items() if not self._is_ready(str(task_id), sha256))

    def _is_ready(self, task_id: str, sha256: str) -> bool:
        paths = (self.search_results_path(task_id), self.meta_features_path(task_id))
        return all(path.is_file() and set(read_column(path, SHA256)) == {sha256} for path in paths)

    def write_meta_dataset(self, task_ids: Sequence[str]) -> pd.DataFrame:
        """Join trials and meta-features of tasks and write the meta-data set, see `join_collected`."""
        return self.write_history(self.join_collected(task_ids))

    def join_collected(self, task_ids: Sequence[str]) -> pd.DataFrame:
        """Join trials and meta-features of tasks.

        Families are those of the catalogue now: a task that landed later may have made relatives of two families.
        """
        trials = [read_frame(self.search_results_path(t), remedy=f"Search the task {t!r} first.") for t in task_ids]
        described = [read_frame(self.meta_features_path(t), remedy=f"Describe the task {t!r} first.") for t in task_ids]
        meta = pd.concat(described, ignore_index=True).drop(columns=["duration_s", SHA256])
        # What the configurations are stands in the columns of hyperparameters.
        joined = pd.concat(trials, ignore_index=True).drop(columns=[CONFIGURATION], errors="ignore")
        frame = join_meta_dataset(joined, meta)
        if self.catalogue_path.is_file():
            families = self.read_catalogue().set_index("task_id")["family"]
            frame["family"] = frame["task_id"].map(families).fillna(frame["family"]).astype(frame["family"].dtype)
        return frame

    def write_history(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Write the meta-data set."""
        write_frame(self.meta_dataset_path, frame)
        return frame

    def read_meta_dataset(self) -> pd.DataFrame:
        """Return the meta-data set, one line a trial."""
        return read_frame(self.meta_dataset_path, remedy="Run `metaflow-hpo step meta_dataset` first.")

    def write_champion(self, record: dict[str, Any]) -> None:
        """Write which version is served."""
        write_json(self.champion_path, record)
