"""Optuna: studies in any storage, a journal file, a study itself, or the csv of `trials_dataframe`."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from metaflow_hpo.adapters.past_trials.source import (
    Direction,
    Found,
    PastTrial,
    Wanted,
    choose_metric,
    existing,
    missing_package,
)
from metaflow_hpo.adapters.past_trials.spaces import make_choices, make_range
from metaflow_hpo.adapters.past_trials.tables import TableForm, read_other_table, read_rows
from metaflow_hpo.adapters.past_trials.values import plain, to_status
from metaflow_hpo.errors import InvalidTableError, listed
from metaflow_hpo.hyperparameter import Hyperparameter

if TYPE_CHECKING:
    import optuna

_OBJECTIVES = re.compile(r"values_(.+)")


class OptunaSource:
    """Studies are tasks; a pruned trial's value is not final; a running or waiting one has none yet."""

    name = "optuna"

    def knows(self, columns: Sequence[str]) -> bool:
        """Tell a `trials_dataframe` by its columns."""
        has_value = "value" in columns or any(_OBJECTIVES.fullmatch(c) for c in columns)
        return has_value and "state" in columns and any(c.startswith("params_") for c in columns)

    def read_table(self, table: pd.DataFrame, wanted: Wanted) -> Found:
        """Read a `trials_dataframe`; it has no ranges and no direction."""
        values = [c for c in map(str, table.columns) if c == "value" or _OBJECTIVES.fullmatch(c)]
        metric, direction = choose_metric(_called_value(wanted, values), values)
        form = TableForm(
            metric=metric,
            prefixes=("params_",),
            status="state",
            duration="duration",
            labels={"user_attrs_": "attr"},
            ignored=("number", "datetime_start", "datetime_complete", "system_attrs_"),
            task="study",
        )
        return read_rows(table, form, wanted.metric or metric, direction, wanted)

    def knows_file(self, path: Path) -> bool:
        """Tell a journal file by its first bytes, and a storage by SQLite's."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(16)
        return start.startswith(b'{"op_code"') or (start.startswith(b"SQLite format 3") and _has_table(path, "studies"))

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read all studies of a storage or of a file.

        Args:
            address: A study or several, `sqlite:///trials.db` or another storage's URL, a journal, SQLite file or csv.
            wanted: `task` is `study` (the default), `attr:NAME` or `param:NAME`; `only` a glob of studies.
        """
        if isinstance(address, pd.DataFrame):
            return self.read_table(address, wanted)
        try:
            import optuna
        except ImportError as error:
            raise missing_package("Optuna", "optuna") from error
        if isinstance(address, optuna.Study):
            return _read_studies([address], wanted)
        if isinstance(address, list | tuple) and all(isinstance(study, optuna.Study) for study in address):
            return _read_studies(address, wanted)
        text = str(address)
        if "://" not in text and not self.knows_file(existing(text, "an Optuna storage, journal or csv")):
            return read_other_table(self, Path(text).expanduser(), wanted)
        return _read_studies(list(_open(text)), wanted)


def _called_value(wanted: Wanted, names: Sequence[str]) -> Wanted:
    """Let a person name the only objective as they like: Optuna calls it `value`."""
    if len(names) == 1:
        return replace(wanted, metric=None)
    return replace(wanted, metric=f"values_{wanted.metric}") if f"values_{wanted.metric}" in names else wanted


def _has_table(path: Path, name: str) -> bool:
    import sqlite3

    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone()
    except sqlite3.DatabaseError:
        return False
    finally:
        connection.close()
    return found is not None


def _open(address: str) -> "Iterable[optuna.Study]":
    import optuna
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy.exc import SQLAlchemyError

    storage: Any
    if "://" in address:
        database = re.match(r"sqlite:///([^?]+)", address)
        if database:
            existing(database.group(1), "an Optuna storage")  # SQLite would make an empty one
        storage = address
    else:
        path = Path(address).expanduser()
        with path.open("rb") as file:
            is_database = file.read(6) == b"SQLite"
        storage = f"sqlite:///{path}" if is_database else optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    try:
        names = optuna.get_all_study_names(storage)
        return [optuna.load_study(study_name=name, storage=storage) for name in names]
    except (SQLAlchemyError, RuntimeError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0]
        raise InvalidTableError(
            f"Expected an Optuna storage; it cannot be read ({type(error).__name__}: {first}). Check the address; an "
            "older storage is brought up to date by: optuna storage upgrade --storage URL."
        ) from error


def _read_studies(studies: "Sequence[optuna.Study]", wanted: Wanted) -> Found:
    chosen = [study for study in studies if wanted.only is None or fnmatchcase(study.study_name, wanted.only)]
    if not chosen:
        raise InvalidTableError(
            f"Expected studies named {wanted.only or '*'}; found {listed([s.study_name for s in studies]) or 'none'}."
        )
    objective, metric, direction = _choose_objective(chosen, wanted)
    return _read_trials([(study, study.get_trials(deepcopy=False)) for study in chosen], objective, metric, direction)


def read_ended(study: "optuna.Study", trials: "Sequence[optuna.trial.FrozenTrial]") -> Found:
    """Read some trials of a study of one objective, one of which the study may not know yet to have ended."""
    words: dict[int, Direction] = {1: "min", 2: "max"}
    return _read_trials([(study, trials)], 0, "value", words[int(study.direction)])


def _read_trials(
    studies: "Iterable[tuple[optuna.Study, Sequence[optuna.trial.FrozenTrial]]]",
    objective: int,
    metric: str,
    direction: Direction,
) -> Found:
    trials: list[PastTrial] = []
    dropped: Counter[str] = Counter()
    known: dict[tuple[str, str], Hyperparameter] = {}
    for study, its_trials in studies:
        for trial in its_trials:
            for name, distribution in trial.distributions.items():
                key = (name, repr(distribution))
                if key not in known:
                    known[key] = distribution_to_hyperparameter(name, distribution._asdict())
            made = _read_trial(study, trial, objective)
            if isinstance(made, str):
                dropped[made] += 1
            else:
                trials.append(made)
    return Found(trials, metric, direction, "study", [[hp] for hp in known.values()], dropped=dropped)


def _choose_objective(studies: "Sequence[optuna.Study]", wanted: Wanted) -> tuple[int, str, Direction]:
    """Return which objective counts; studies with several ask for its name or number."""
    first = studies[0]
    names = first.metric_names or (
        ["value"] if len(first.directions) == 1 else [f"values_{i}" for i in range(len(first.directions))]
    )
    name = choose_metric(_called_value(wanted, names), names, "max")[0]
    objective = names.index(name)
    words: dict[int, Direction] = {1: "min", 2: "max"}
    directions = {words[int(study.directions[objective])] for study in studies if objective < len(study.directions)}
    if len(directions) > 1 and wanted.mode is None:
        raise InvalidTableError(
            "Some studies maximise and some minimise: read them one direction at a time, with --only NAME*."
        )
    return objective, wanted.metric or name, wanted.mode or directions.pop()


def _read_trial(study: "optuna.Study", trial: "optuna.trial.FrozenTrial", objective: int) -> PastTrial | str:
    """Return the trial, or why it is not read."""
    state = trial.state.name
    if not trial.state.is_finished():
        return f"{state.lower()}: not finished"
    values = trial.values
    if state == "PRUNED" and values is None and len(study.directions) > 1:
        return "pruned without values"
    status = to_status(state) or "failed"
    curve = tuple(value for _, value in sorted(trial.intermediate_values.items()) if math.isfinite(value))
    value = None if values is None or objective >= len(values) else values[objective]
    started, ended = trial.datetime_start, trial.datetime_complete
    return PastTrial(
        configuration={name: plain(value) for name, value in trial.params.items()},
        value=value,
        status=status,
        reason={"ok": "", "failed": str(trial.system_attrs.get("fail_reason", "failed")), "stopped": "pruned"}[status],
        curve=curve if len(study.directions) == 1 else (),
        duration_s=(ended - started).total_seconds() if started and ended else None,
        labels={
            "study": study.study_name,
            **{f"attr:{name}": value for name, value in {**study.user_attrs, **trial.user_attrs}.items()},
            **{f"param:{name}": value for name, value in trial.params.items()},
        },
    )


def distribution_to_hyperparameter(name: str, fields: Mapping[str, Any]) -> Hyperparameter:
    """Return the hyperparameter of one of Optuna's distributions.

    Args:
        name: Its name.
        fields: The distribution's attributes: `choices`, or `low`, `high` and `log`.
    """
    if "choices" in fields:
        return make_choices(name, [plain(choice) for choice in fields["choices"]])
    return make_range(name, fields["low"], fields["high"], log=bool(fields.get("log")))
