"""Tables: trials, meta-features, catalogue; their schemas and the conversions between `Trial` and a row.

The one thing to know: a missing `hp_<name>` cell means "not active in this configuration", never "unknown".
"""

import json
import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metaflow_hpo.errors import InvalidTableError, SearchSpaceMismatchError, listed
from metaflow_hpo.hyperparameter import Hyperparameter, find_value, is_number
from metaflow_hpo.metric import KNOWN_METRICS
from metaflow_hpo.space import Categorical, Configuration, SearchSpace, Value
from metaflow_hpo.task import TABLE, Task
from metaflow_hpo.trial import STATUSES, Trial

CURVE = "learning_curve"
"""The column of learning curves, lists of numbers."""
HP_PREFIX = "hp_"
"""What the names of columns of hyperparameters begin with."""

FIDELITY_PREFIX = "fidelity_"
"""What the names of columns of fidelities begin with; their unit follows."""

META_PREFIX = "mf_"
"""What the names of columns of meta-features begin with."""

TRIAL_KEY = ("task_id", "learner", "configuration_id", "strategy", "seed")
"""Columns that identify a trial, beside its fidelity."""

TRIAL_COLUMNS = (
    "task_id",
    "family",
    "learner",
    "configuration_id",
    "strategy",
    "seed",
    "fidelity_epochs",
    "performance",
    "test_performance",
    "duration_s",
    "status",
    "reason",
)
"""Columns every table of trials has, in order; `fidelity_<unit>` in place of the epochs where others are counted."""

SCORE_NAMES = (*KNOWN_METRICS, *(f"test_{name}" for name in KNOWN_METRICS))
"""Columns of scores every table of trials has, cross-validated first, then on the test rows."""

CONFIGURATION = "configuration"
"""Column of configurations as JSON, which says what `hp_*` columns need a search space for."""

SCORE_PREFIX = "score_"
"""What the names of columns of other scores begin with."""

PADDED = re.compile(r"[+-]?0\d+")
"""A whole number with zeros before it, which is rather a name: 01 and 1 are two."""

_TEXT = ("task_id", "family", "learner", "configuration_id", "strategy", "status", "reason")
_EPOCHS = "fidelity_epochs"
_REAL = ("performance", "test_performance", "duration_s")
_SHOWN = 5
_READ_AS_MISSING = frozenset(
    [
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    ]
)
"""Text that pandas takes for a missing cell of a csv."""


def trials_to_frame(trials: Iterable[Trial]) -> pd.DataFrame:
    """Turn trials into a table.

    Args:
        trials: The trials, of one learner or of several.

    Returns:
        One row a trial, in order: `TRIAL_COLUMNS`, `SCORE_NAMES` (NaN where not measured), `score_<name>` for each
        other score, `learning_curve` (float32 arrays `(E,)`), then `hp_<name>` for each hyperparameter that is active
        in at least one trial (float64, or text for choices).
    """
    rows = list(trials)
    others = sorted({name for trial in rows for name in trial.scores} - set(SCORE_NAMES))
    columns: dict[str, pd.Series[Any]] = {}
    for name in TRIAL_COLUMNS:
        if name == _EPOCHS:
            columns |= _fidelity_columns(rows)
            continue
        dtype = "str" if name in _TEXT else "int64" if name == "seed" else "float64"
        columns[name] = pd.Series([getattr(trial, name) for trial in rows], dtype=dtype)
    for name in (*SCORE_NAMES, *others):
        columns[score_column(name)] = pd.Series([trial.scores.get(name, math.nan) for trial in rows], dtype="float64")
    curves = [np.asarray(trial.learning_curve, dtype=np.float32) for trial in rows]
    columns[CURVE] = pd.Series(curves, dtype="object")
    for name in dict.fromkeys(name for trial in rows for name in trial.configuration):
        columns[HP_PREFIX + name] = _hyperparameter_column(name, rows)
    return pd.DataFrame(columns)


def score_column(name: str) -> str:
    """Return the column of a score."""
    return name if name in SCORE_NAMES else SCORE_PREFIX + name


def read_configuration(row: Mapping[Hashable, Any], space: SearchSpace) -> Configuration:
    """Return the configuration in the `hp_*` cells of a line; a missing cell or column says that it is not used.

    Args:
        row: The line, by column; columns of hyperparameters that `space` does not have are left out.
        space: Search space, which says what is a whole number and what is active. Choices are found whatever type
            their column has: a csv turns `"32"` into a number and `true` into a truth value.

    Raises:
        SearchSpaceMismatchError: If it does not belong to the search space, say for 2.7 where a whole number belongs.
    """
    values: dict[str, Any] = {}
    for hp in space.hyperparameters:
        value = row.get(HP_PREFIX + hp.name)
        if not _is_missing(value):
            values[hp.name] = read_choice(hp, value) if isinstance(hp, Categorical) else value
        elif _has_none(hp) and space.is_active(hp.name, values):
            values[hp.name] = None  # a csv writes null as an empty cell
    return space.validate(values)


def _has_none(hp: Hyperparameter) -> bool:
    return isinstance(hp, Categorical) and None in hp.choices and not hp.optional


def read_choice(hp: Categorical, value: Any) -> Value:
    """Return the choice that a cell stands for; the cell itself where it is none."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        spellings = [json.dumps(choice) for choice in hp.choices], [str(choice) for choice in hp.choices]
        return next((hp.choices[known.index(value)] for known in spellings if value in known), value)
    place = find_value(hp.choices, value)
    if place is not None:
        return hp.choices[place]
    # A csv may have made a number or a truth value of text.
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return next((text for text in (json.dumps(whole), str(whole), str(value)) if text in hp.choices), value)


def frame_to_trials(frame: pd.DataFrame, space: SearchSpace | None) -> list[Trial]:
    """Invert `trials_to_frame` for the trials of one learner.

    Args:
        frame: A table of trials; learning curves come back in float32 precision.
        space: Search space of the learner, which says what is a whole number and what is active; None where the table
            holds configurations as a whole.

    Returns:
        One trial a row, in order; absent numbers are `math.nan` itself, so that equal trials compare equal.

    Raises:
        InvalidTableError: If a required column is missing, or a row cannot be a trial.
        SearchSpaceMismatchError: If a configuration does not belong to `space`.
    """
    units = fidelity_units(frame)
    missing = [name for name in TRIAL_COLUMNS if name not in frame.columns and not (name == _EPOCHS and units)]
    if missing:
        raise InvalidTableError(
            f"A table of trials needs the columns {', '.join(TRIAL_COLUMNS)}; {missing} are missing."
        )
    if space is not None:
        _check_names(frame, space)
    others = [str(name).removeprefix(SCORE_PREFIX) for name in frame.columns if str(name).startswith(SCORE_PREFIX)]
    scores = {name: score_column(name) for name in (*SCORE_NAMES, *others) if score_column(name) in frame.columns}
    trials = []
    for row in frame.to_dict("records"):
        configuration = json.loads(row[CONFIGURATION]) if space is None else read_configuration(row, space)
        curve = row.get(CURVE)
        trials.append(
            Trial(
                **_read_fields(row),
                configuration=configuration,
                scores={name: float(row[column]) for name, column in scores.items() if not _is_missing(row[column])},
                learning_curve=() if curve is None or _is_missing(curve) else tuple(float(value) for value in curve),
            )
        )
    return trials


def _check_names(frame: pd.DataFrame, space: SearchSpace) -> None:
    filled = [str(name) for name in frame.columns[frame.notna().any()]]
    used = {name.removeprefix(HP_PREFIX) for name in filled if name.startswith(HP_PREFIX)}
    unknown = sorted(used - set(space.names))
    if unknown:
        raise SearchSpaceMismatchError(f"Unknown hyperparameters {unknown}; the search space has {list(space.names)}.")


def trial_to_record(trial: Trial) -> dict[str, Any]:
    """Return a trial as values that JSON holds exactly (`null` for an absent number); `record_to_trial` inverts it."""
    record: dict[str, Any] = {name: getattr(trial, name) for name in TRIAL_COLUMNS if name != _EPOCHS}
    record[FIDELITY_PREFIX + trial.fidelity_unit] = trial.fidelity
    for name in _REAL:
        record[name] = _number_or_none(record[name])
    record["configuration"] = dict(trial.configuration)
    record["scores"] = {name: _number_or_none(value) for name, value in trial.scores.items()}
    record[CURVE] = [_number_or_none(value) for value in trial.learning_curve]
    return record


def record_to_trial(record: Mapping[str, Any]) -> Trial:
    """Invert `trial_to_record`.

    Raises:
        InvalidTableError: If a field is missing, or the record cannot be a trial.
    """
    try:
        return Trial(
            **_read_fields(record),
            configuration=dict(record["configuration"]),
            scores={name: _number(value) for name, value in record["scores"].items()},
            learning_curve=tuple(_number(value) for value in record[CURVE]),
        )
    except KeyError as error:
        raise InvalidTableError(f"The record of a trial misses {error}; it has {sorted(record)}.") from error


def validate_trials(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of trials with the right column types.

    Raises:
        InvalidTableError: If a column is missing, a status is not one of `STATUSES`, a trial is listed twice, a
            performance is not finite where the trial is ok (or given where it is not), or a task has two families.
    """
    import pandera.pandas as pa

    filled, status = pa.Check.str_length(min_value=1), pa.Check.isin(STATUSES)
    columns = {name: pa.Column(str, checks=[filled]) for name in _TEXT if name not in ("status", "reason")}
    columns |= {"status": pa.Column(str, checks=[status]), "reason": pa.Column(str)}
    columns["seed"] = pa.Column("int64")
    fidelities = [FIDELITY_PREFIX + unit for unit in fidelity_units(frame)] or [_EPOCHS]
    kind = "int64" if len(fidelities) == 1 else "float64"
    columns |= {name: pa.Column(kind, checks=[pa.Check.ge(1)], nullable=kind == "float64") for name in fidelities}
    columns |= {name: pa.Column("float64", nullable=True) for name in ("performance", "test_performance")}
    columns["duration_s"] = pa.Column("float64", checks=[pa.Check.ge(0)])
    # Coercion would cut 1.5 epochs to 1 without a word.
    for name in (name for name in ("seed", *fidelities) if name in frame.columns):
        numbers = pd.to_numeric(frame[name], errors="coerce")
        broken = (numbers % 1 != 0) & (numbers.notna() | (len(fidelities) == 1) | (name == "seed"))
        _refuse(f"values of {name} that are not whole numbers", frame.loc[broken, [name]])
    valid = _validate("trials", pa.DataFrameSchema(columns, coerce=True), frame)
    finite, ok = np.isfinite(valid["performance"]), valid["status"] == "ok"
    key = [*TRIAL_KEY, *fidelities]
    shown = [*key, "status", "performance"]
    _refuse("trials listed twice", valid.loc[valid.duplicated(key), shown])
    _refuse("ok trials without a finite performance", valid.loc[ok & ~finite, shown])
    _refuse("trials that are not ok with a performance", valid.loc[~ok & valid["performance"].notna(), shown])
    families = valid[["task_id", "family"]].drop_duplicates()
    _refuse("tasks with more than one family", families.loc[families.duplicated("task_id", keep=False)])
    return valid


def validate_meta_features(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of meta-features, one row a task, with float64 `mf_` columns, if any.

    Raises:
        InvalidTableError: If `task_id` is missing or repeated, or a value is not finite.
    """
    import pandera.pandas as pa

    finite = pa.Check(np.isfinite, error="must be finite")
    columns = {
        "task_id": pa.Column(str, unique=True, checks=[pa.Check.str_length(min_value=1)]),
        "^mf_.+": pa.Column("float64", regex=True, required=False, checks=[finite]),
    }
    return _validate("meta-features", pa.DataFrameSchema(columns, coerce=True), frame)


def validate_catalogue(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of tasks, one row a task.

    Raises:
        InvalidTableError: If a column is missing, an id is repeated, or a modality, metric, licence, source or family
            is empty.
    """
    import pandera.pandas as pa

    filled = pa.Check.str_length(min_value=1)
    names = ("family", "modality", "metric", "licence", "source")
    sizes = ("rows", "columns", "classes", "test_rows")
    columns = {"task_id": pa.Column(str, unique=True, checks=[filled])}
    columns |= {name: pa.Column(str, checks=[filled]) for name in names}
    columns |= {name: pa.Column(str) for name in ("kind", "target")}
    columns |= {name: pa.Column("int64", checks=[pa.Check.ge(0)]) for name in sizes}
    return _validate("tasks", pa.DataFrameSchema(columns, coerce=True), frame)


def meta_feature_columns(frame: pd.DataFrame) -> list[str]:
    """Return the names of the columns of meta-features, in order."""
    return [str(name) for name in frame.columns if str(name).startswith(META_PREFIX)]


def tasks_to_frame(tasks: Iterable[Task]) -> pd.DataFrame:
    """Return the catalogue of tasks, one row a task, in order."""
    lines = [{**t.to_dict(), "metric": t.metric.to_text(), "notes": "; ".join(t.notes)} for t in tasks]
    return validate_catalogue(pd.DataFrame(lines))


def complete_catalogue(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a catalogue as it was written, with a modality: all were tables before there was that column."""
    if "modality" in frame.columns:
        return frame
    return frame.assign(modality=pd.Series(TABLE, frame.index, dtype="str"))


def join_meta_dataset(trials: pd.DataFrame, meta_features: pd.DataFrame) -> pd.DataFrame:
    """Join trials with the meta-features of their tasks: the meta-data set.

    Args:
        trials: A valid table of trials.
        meta_features: A valid table of meta-features, one row a task; its other columns are left out.

    Returns:
        The rows of `trials`, in order, with the `mf_` columns appended.

    Raises:
        InvalidTableError: If a task of `trials` has no meta-features, or a task is listed twice among them.
    """
    without = sorted(set(trials["task_id"]) - set(meta_features["task_id"]))
    if without:
        raise InvalidTableError(
            f"{len(without)} tasks have trials but no meta-features: {listed(without)}. "
            "Compute their meta-features first."
        )
    _refuse("tasks with two rows of meta-features", meta_features.loc[meta_features.duplicated("task_id"), ["task_id"]])
    names = meta_feature_columns(meta_features)
    return trials.merge(meta_features[["task_id", *names]], on="task_id", how="left", validate="many_to_one")


def _validate(what: str, schema: Any, frame: pd.DataFrame) -> pd.DataFrame:
    from pandera.errors import SchemaErrors

    try:
        valid: pd.DataFrame = schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        lines = [_describe_failure(case, frame) for case in cases.head(_SHOWN).to_dict("records")]
        more = f" (and {len(cases) - _SHOWN} more)" if len(cases) > _SHOWN else ""
        raise InvalidTableError(f"The table of {what} is not valid: {'; '.join(lines)}{more}.") from error
    return valid


def _describe_failure(case: Mapping[Hashable, Any], frame: pd.DataFrame) -> str:
    if case["check"] == "column_in_dataframe":
        return f"the column {case['failure_case']!r} is missing"
    column, check, row = case["column"], case["check"], case["index"]
    if _is_missing(row):
        return f"{column}: expected {check}, found {case['failure_case']!r}"
    found = frame[column].loc[row] if column in frame.columns and row in frame.index else case["failure_case"]
    return f"row {row}, {column}: expected {check}, found {found!r}"


def _refuse(what: str, rows: pd.DataFrame) -> None:
    if len(rows):
        first = [", ".join(f"{k}={v}" for k, v in row.items()) for row in rows.head(_SHOWN).to_dict("records")]
        raise InvalidTableError(f"Found {len(rows)} {what}, the first: {'; '.join(first)}.")


def fidelity_units(frame: pd.DataFrame) -> list[str]:
    """Return the units of the fidelities that a table of trials has columns of."""
    return [str(name).removeprefix(FIDELITY_PREFIX) for name in frame.columns if str(name).startswith(FIDELITY_PREFIX)]


def _fidelity_columns(rows: Sequence[Trial]) -> "dict[str, pd.Series[Any]]":
    """Return a column for each unit; whole numbers where there is only one, else missing where another is counted."""
    units = list(dict.fromkeys(trial.fidelity_unit for trial in rows)) or ["epochs"]
    if len(units) == 1:
        return {FIDELITY_PREFIX + units[0]: pd.Series([trial.fidelity for trial in rows], dtype="int64")}
    return {
        FIDELITY_PREFIX + unit: pd.Series(
            [trial.fidelity if trial.fidelity_unit == unit else math.nan for trial in rows], dtype="float64"
        )
        for unit in units
    }


def _read_fields(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the fields of a trial that stand in a line of a table, or in a record."""
    names = [name for name in TRIAL_COLUMNS if name not in ("configuration_id", _EPOCHS)]
    counted = [n for n, v in row.items() if str(n).startswith(FIDELITY_PREFIX) and not _is_missing(v)]
    if len(counted) != 1:
        raise InvalidTableError(
            f"A trial has one fidelity, say {_EPOCHS}; found {counted or 'none'} for {row.get('task_id')!r}."
        )
    unit = str(counted[0]).removeprefix(FIDELITY_PREFIX)
    return {name: _plain(name, row[name]) for name in names} | {"fidelity": int(row[counted[0]]), "fidelity_unit": unit}


def _hyperparameter_column(name: str, trials: Sequence[Trial]) -> "pd.Series[Any]":
    """Return the values of a hyperparameter: numbers, or text where one is none; missing where it is not active."""
    active = [trial.configuration[name] for trial in trials if name in trial.configuration]
    if all(is_number(value) for value in active):
        return pd.Series([float(trial.configuration.get(name, math.nan)) for trial in trials], dtype="float64")
    cells = [write_choice(t.configuration[name]) if name in t.configuration else None for t in trials]
    return pd.Series(cells, dtype="str")


def write_choice(value: Value) -> str:
    """Return a choice as text: as JSON where it is no text, or text that would be read as something else."""
    return value if isinstance(value, str) and not _looks_like_json(value) else json.dumps(value)


def _looks_like_json(text: str) -> bool:
    """Tell whether a reader of JSON or csv would not take a text for what it is."""
    if text in _READ_AS_MISSING:
        return True
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _is_missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _plain(name: str, value: Any) -> Any:
    if name in _TEXT:
        return "" if _is_missing(value) else str(value)
    number = int(value) if name == "seed" else _number(value)
    if math.isinf(number):
        raise InvalidTableError(f"Expected a finite {name} of a trial; found {value!r}.")
    return number


def _number(value: Any) -> float:
    return math.nan if _is_missing(value) else float(value)


def _number_or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
