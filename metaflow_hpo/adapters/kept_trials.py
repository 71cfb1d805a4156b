"""Trials that are kept by the content of their task, whatever the file it came from is called.

A search appends every finished trial to a journal, so that a kill at any moment loses only the trial in flight; when it
is done they move into a table. Searches that run at once share both: what is written is joined with what is there.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from metaflow_hpo.adapters.files import locked, read_frame, read_json, write_frame, write_json
from metaflow_hpo.adapters.journal import Journal
from metaflow_hpo.array_files import taking_apart
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.learners.learner import Learner
from metaflow_hpo.learners.recorded import RecordedLearner, to_card
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.tables import (
    CONFIGURATION,
    frame_to_trials,
    record_to_trial,
    trial_to_record,
    trials_to_frame,
    validate_trials,
)
from metaflow_hpo.task import Task
from metaflow_hpo.trial import Trial

SHA256 = "task_sha256"
"""Column that names the content of the task."""
_DIGITS = 16
_REMEDY = "Delete it and search again."


@dataclass(frozen=True)
class KeptTrials:
    """A folder with a table and a journal for each content of a task.

    Attributes:
        folder: The folder; it need not exist.
    """

    folder: Path

    def path(self, task: Task) -> Path:
        """Return the table of a task: named by its content, and for people by the task that it was first."""
        name = f"{task.sha256[:_DIGITS]}.parquet"
        return next(iter(sorted(self.folder.glob(f"*-{name}"))), self.folder / f"{task.task_id}-{name}")

    def read_trials(self, task: Task) -> list[Trial]:
        """Return the trials of a task, of all learners, those of an interrupted search included."""
        # A table that an older version named by the task alone may hold other rows.
        paths = [self.path(task), self.folder / f"{task.task_id}.parquet"]
        return join([], *(read_table(path, task) for path in paths), self.read_journal(task))

    def read_journal(self, task: Task) -> list[Trial]:
        """Return the trials that wait to become part of a table."""
        journal = self._journal(task)
        return [_record_to_trial(record, task, journal) for record in journal.read()]

    def append_trial(self, task: Task, trial: Trial) -> None:
        """Keep a finished trial before the search goes on."""
        with locked(self.folder):  # or a table that is written meanwhile would drop the journal with it
            self._journal(task).append({**trial_to_record(trial), SHA256: task.sha256})

    def has_journal(self, task: Task) -> bool:
        """Tell whether trials of a task wait to become part of its table."""
        return self._journal(task).path.is_file()

    def write_trials(self, task: Task, trials: Sequence[Trial]) -> pd.DataFrame:
        """Write the table: these trials, then those that are kept of other searches, whoever has added them."""
        with locked(self.folder):
            frame = to_frame(task, join(trials, self.read_trials(task)))
            write_frame(self.path(task), frame)
            self._journal(task).remove()
        return frame

    def replace_trials(self, task: Task, trials: Sequence[Trial]) -> bool:
        """Make these the trials of a task, whatever there was before; tell whether that changes anything."""
        with locked(self.folder):
            path = self.path(task)
            before = path.read_bytes() if path.is_file() else None
            write_frame(path, to_frame(task, trials))
            return path.read_bytes() != before

    def keep(self, table: Path, task: Task) -> None:
        """Move a table here, which is of rows that the task had before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        table.replace(self.path(task))

    def drop(self, task: Task) -> None:
        """Delete the table and the journal of a task, whose trials are kept elsewhere."""
        self.path(task).unlink(missing_ok=True)
        self._journal(task).remove()

    def _journal(self, task: Task) -> Journal:
        return Journal(self.folder / f".{task.sha256[:_DIGITS]}.journal.jsonl")


def write_card(folder: Path, learner: Learner) -> None:
    """Keep what a learner is: its trials outlive its code."""
    path, card = folder / f"{learner.name}.json", to_card(learner)
    if not path.is_file() or read_json(path) != card:
        write_json(path, card)


def has_other_code(folder: Path, learner: Learner) -> bool:
    """Tell whether another command, or another version of its script, was searched with under a learner's name."""
    path, code = folder / f"{learner.name}.json", getattr(learner, "code", None)
    before = read_json(path, remedy=_REMEDY).get("code") if path.is_file() and code is not None else None
    return before not in {None, code}


def read_card(folder: Path, name: str) -> RecordedLearner | None:
    """Return a learner as it was last searched with, or None where that never was.

    Raises:
        InvalidTableError: If its card is damaged.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    with taking_apart(path, _REMEDY):
        return RecordedLearner.from_card(read_json(path, remedy=_REMEDY))


def read_table(path: Path, task: Task) -> list[Trial]:
    """Return the trials that a table holds of a task; none where there is no table, or one of other rows.

    Raises:
        InvalidTableError: If it is damaged.
    """
    if not path.is_file():
        return []
    frame = read_frame(path, remedy=_REMEDY)
    missing = [name for name in ("learner", SHA256) if name not in frame.columns]
    if missing:
        raise InvalidTableError(f"Expected trials in {path}; the columns {missing} are missing. {_REMEDY}")
    trials: list[Trial] = []
    with taking_apart(path, _REMEDY):
        if set(frame[SHA256]) != {task.sha256}:
            return []
        for name, rows in frame.drop(columns=[SHA256]).groupby("learner", sort=False):
            # Tables of before there were learners of others do not hold configurations as a whole.
            space = None if CONFIGURATION in rows.columns else get_learner(str(name)).space
            trials += frame_to_trials(rows, space)
        return [_named_by(trial, task) for trial in trials]


def to_frame(task: Task, trials: Sequence[Trial]) -> pd.DataFrame:
    """Return the table of a task's trials, checked."""
    frame = validate_trials(trials_to_frame(trials))
    whole = [json.dumps(dict(trial.configuration)) for trial in trials]
    frame[CONFIGURATION], frame[SHA256] = pd.Series(whole, dtype="str"), task.sha256
    return frame


def join(trials: Sequence[Trial], *earlier: Iterable[Trial]) -> list[Trial]:
    """Return trials, and those known earlier that are not among them, each once.

    Of a trial known twice, without its refit and with it, the later one counts.
    """
    keys = {trial.key for trial in trials}
    others = {trial.key: trial for known in earlier for trial in known if trial.key not in keys}
    return [*trials, *others.values()]


def _named_by(trial: Trial, task: Task) -> Trial:
    """Return a trial as one of this task, which had another name when the trial was made."""
    return replace(trial, task_id=task.task_id, family=task.family)


def _record_to_trial(record: dict[str, object], task: Task, journal: Journal) -> Trial:
    try:
        return _named_by(record_to_trial({name: value for name, value in record.items() if name != SHA256}), task)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidTableError(
            f"Expected a trial in each line of {journal.path}; found: {error!r}. {_REMEDY}"
        ) from error
