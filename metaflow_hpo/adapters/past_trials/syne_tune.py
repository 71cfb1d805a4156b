"""Syne Tune: the folder of an experiment with `results.csv.zip`, a line a report, and `metadata.json`."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.past_trials.folders import EXPERIMENT, find_experiments, read_json_file
from metaflow_hpo.adapters.past_trials.source import Direction, Found, PastTrial, Wanted, choose_metric
from metaflow_hpo.adapters.past_trials.spaces import make_choices, make_range
from metaflow_hpo.adapters.past_trials.tables import is_missing
from metaflow_hpo.adapters.past_trials.values import from_text, pick, to_number, to_status
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.hyperparameter import Hyperparameter

_PREFIX = "config_"
_RESULTS = "results.csv.zip"
_METADATA = "metadata.json"
_DECISION = "st_decision"


class SyneTuneSource:
    """Experiments are tasks; a trial that the scheduler stopped before the last step of the others is stopped."""

    name = "syne-tune"

    def knows(self, columns: Sequence[str]) -> bool:
        """Tell a table of reports by its columns."""
        return {"trial_id", "st_tuner_time"} <= set(columns) and any(c.startswith(_PREFIX) for c in columns)

    def knows_file(self, path: Path) -> bool:
        """Tell the folder of an experiment by its two files."""
        return path.is_dir() and (path / _RESULTS).is_file()

    def read_table(self, table: pd.DataFrame, wanted: Wanted) -> Found:
        """Read a table of reports of one experiment; a column may name the task."""
        return _read({self.name: (table, {})}, wanted)

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read an experiment, or all those in a folder such as `~/syne-tune`.

        Args:
            address: The folder, or a table of reports.
            wanted: `task` is `experiment` (the default: the name without its date); `at` is `last` (the default),
                `best` or a step.
        """
        if isinstance(address, pd.DataFrame):
            return self.read_table(address, wanted)
        folders = find_experiments(address, self.knows_file, "an experiment of Syne Tune", wanted)
        return _read({name: _read_folder(folder) for name, folder in folders.items()}, wanted)


def _read_folder(folder: Path) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    metadata = read_json_file(folder / _METADATA) if (folder / _METADATA).is_file() else {}
    try:
        with zipfile.ZipFile(folder / _RESULTS) as packed:
            text = packed.read(packed.namelist()[0]).decode()
        return pd.read_csv(StringIO(text), dtype=object, keep_default_na=False), metadata
    except (zipfile.BadZipFile, UnicodeDecodeError, pd.errors.ParserError, IndexError) as error:
        raise InvalidTableError(f"Expected a whole {folder / _RESULTS}; found: {error}. Copy it again.") from error


def _read(experiments: Mapping[str, tuple[pd.DataFrame, Mapping[str, Any]]], wanted: Wanted) -> Found:
    metric, direction, step = _choose(experiments, wanted)
    trials: list[PastTrial] = []
    for name, (table, metadata) in experiments.items():
        if metric not in table.columns:
            continue
        counter = step if step in table.columns else "st_worker_iter"
        most = max((to_number(v) or 0.0 for v in table[counter]), default=0.0) if counter in table.columns else 0.0
        for _, group in table.groupby("trial_id", sort=False):
            rows = group.to_dict("records")
            trials.append(_read_trial(name, metadata, rows, metric, direction, counter, most, wanted))
    known = [_read_space(metadata) for _, metadata in experiments.values()]
    return Found(trials, metric, direction, EXPERIMENT, known)


def _choose(
    experiments: Mapping[str, tuple[pd.DataFrame, Mapping[str, Any]]], wanted: Wanted
) -> tuple[str, Direction, str]:
    """Return metric, direction and the column that counts reports, as the experiments say."""
    present = dict.fromkeys(
        str(c)
        for table, _ in experiments.values()
        for c in table.columns
        if not str(c).startswith((_PREFIX, "st_")) and c not in {"trial_id", "epoch", "step"}
    )
    told = [m for _, m in experiments.values() if m]
    names = {name for metadata in told for name in metadata.get("metric_names", [])[:1]}
    modes: set[Direction] = {m["metric_mode"] for m in told if m.get("metric_mode") in {"max", "min"}}
    first = next(iter(names)) if len(names) == 1 else None
    mode: Direction | None = modes.pop() if len(modes) == 1 and wanted.metric in {None, first} else None
    metric, direction = choose_metric(Wanted(metric=wanted.metric or first, mode=wanted.mode), list(present), mode)
    counters = {m.get("scheduler_kwargs", {}).get("time_attr") for m in told} - {None}
    return metric, direction, str(counters.pop()) if counters else "epoch"


def _read_trial(
    name: str,
    metadata: Mapping[str, Any],
    rows: Sequence[Mapping[Any, Any]],
    metric: str,
    direction: Direction,
    counter: str,
    most: float,
    wanted: Wanted,
) -> PastTrial:
    points = [
        (to_number(row.get(counter)) or float(i), value)
        for i, row in enumerate(rows)
        if not is_missing(row[metric]) and (value := to_number(row[metric])) is not None
    ]
    last = rows[-1]
    status = to_status(last["st_status"]) if "st_status" in last else "ok"
    ended_early = (to_number(last.get(counter)) or 0.0) < most
    # The status of a stopped trial may still be the one from before: its last decision counts.
    if status in {None, "ok", "stopped"}:
        status = "stopped" if ended_early and (last.get(_DECISION) != "CONTINUE" or status != "ok") else "ok"
    value, curve = pick(points, wanted.at or "last", direction)
    seconds = [to_number(row.get("st_worker_time")) for row in rows]
    return PastTrial(
        configuration={
            str(c).removeprefix(_PREFIX): from_text(v)
            for c, v in last.items()
            if str(c).startswith(_PREFIX) and not is_missing(v)
        },
        value=value,
        status=status or "ok",
        reason="" if status == "ok" else f"{status} by the scheduler",
        curve=curve if len(points) > 1 else (),
        duration_s=seconds[-1],
        labels={
            EXPERIMENT: str(metadata.get("tuner_name") or _without_date(name)),
            **{f"column:{c}": v for c, v in last.items() if not str(c).startswith((_PREFIX, "st_"))},
        },
    )


def _without_date(name: str) -> str:
    """Return the name of an experiment without the moment that Syne Tune adds to it."""
    parts = name.split("-")
    dated = len(parts) > 7 and all(part.isdigit() for part in parts[-7:])
    return "-".join(parts[:-7]) if dated else name


def _read_space(metadata: Mapping[str, Any]) -> list[Hyperparameter]:
    text = metadata.get("config_space")
    domains = json.loads(text) if isinstance(text, str) else text or {}
    made: list[Hyperparameter] = []
    for name, domain in domains.items():
        if not isinstance(domain, Mapping) or "domain_cls" not in domain:
            continue  # a constant
        fields = domain["domain_kwargs"]
        if "categories" in fields:
            made.append(make_choices(name, fields["categories"]))
        elif {"lower", "upper"} <= set(fields):
            log = "log" in str(domain.get("sampler_cls", "")).lower()
            to = int if domain["domain_cls"] in {"Integer", "FiniteRange"} and fields.get("cast_int", True) else float
            made.append(make_range(name, to(fields["lower"]), to(fields["upper"]), log=log))
    return made
