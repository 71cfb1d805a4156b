"""DVC: what `dvc exp show --csv` or `--json` prints, without the rows of baselines."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.past_trials.folders import read_json_file
from metaflow_hpo.adapters.past_trials.source import FROM_NAME, Found, PastTrial, Wanted, choose_metric, existing
from metaflow_hpo.adapters.past_trials.tables import find_measured, is_missing, read_any_table
from metaflow_hpo.adapters.past_trials.values import flatten, from_text, to_number
from metaflow_hpo.errors import InvalidTableError

_ABOUT = ("Experiment", "rev", "typ", "Created", "parent", "State", "Executor")
_ERROR = "!"
_UNFINISHED = frozenset(("queued", "running"))


class DvcSource:
    """A repository is a task, named by the file unless a column says otherwise; `!` is an error, so a failure."""

    name = "dvc"

    def knows(self, columns: Sequence[str]) -> bool:
        """Tell the csv by its first columns."""
        return {"Experiment", "rev", "typ"} <= set(columns)

    def read_table(self, table: pd.DataFrame, wanted: Wanted) -> Found:
        """Read the csv; metrics come before parameters, and their groups are not marked."""
        columns = [str(c) for c in table.columns]
        free = [c for c in columns if c not in _ABOUT]
        measured = find_measured(table, free)
        metric, direction = choose_metric(wanted, measured if wanted.metric in {None, *measured} else free)
        start = free.index(metric) + 1
        config = [c for c in free[start:] if c not in measured]
        dropped: Counter[str] = Counter()
        trials = []
        for row in table.to_dict("records"):
            state = "" if is_missing(row.get("State")) else str(row["State"]).lower()
            if row["typ"] == "baseline":
                dropped["a baseline, which is no experiment"] += 1
            elif state in _UNFINISHED:
                dropped[f"{state}: not finished"] += 1
            else:
                values = {c: from_text(row[c]) for c in config if not is_missing(row[c]) and row[c] != _ERROR}
                labels = {f"column:{c}": row[c] for c in (*columns,) if not is_missing(row[c])}
                trials.append(_make(values, row[metric], state, labels))
        left_out = dict.fromkeys(free[: start - 1], "a metric: it comes before the parameters")
        left_out |= {c: "looks like a measurement" for c in measured if c != metric and c not in left_out}
        return Found(trials, metric, direction, wanted.task or f"{FROM_NAME}:dvc", dropped=dropped, left_out=left_out)

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read what `dvc exp show` printed.

        Args:
            address: csv, or the JSON, in which parameters and metrics are told apart; a frame of the csv.
            wanted: `task` is the file's name unless given: a column, or `name:NAME`.
        """
        if isinstance(address, pd.DataFrame):
            return self.read_table(address, wanted)
        path = existing(address, "what `dvc exp show --csv` or --json printed")
        if path.is_dir():
            raise InvalidTableError(
                f"Expected a file; {path} is a folder. Write one by: dvc exp show --json > exps.json"
            )
        task = wanted.task or f"{FROM_NAME}:{path.stem}"
        if path.suffix.lower() == ".json":
            return _read_json(path, wanted, task)
        table = read_any_table(path)
        if not self.knows([str(c) for c in table.columns]):
            raise InvalidTableError(
                f"Expected Experiment, rev and typ among the columns of {path}. Write it by: dvc exp show --csv"
            )
        from dataclasses import replace

        return self.read_table(table, replace(wanted, task=task))


def _make(values: Mapping[str, Any], value: Any, state: str, labels: Mapping[str, Any]) -> PastTrial:
    failed = value == _ERROR or state == "failed"
    return PastTrial(
        configuration=values,
        value=None if is_missing(value) or value == _ERROR else to_number(value),
        status="failed" if failed else "ok",
        reason="failed" if failed else "",
        labels=labels,
    )


def _read_json(path: Path, wanted: Wanted, task: str) -> Found:
    found = list(_experiments(read_json_file(path)))
    metrics = {m: None for data, _ in found for m, v in _group(data, "metrics").items() if to_number(v) is not None}
    metric, direction = choose_metric(wanted, list(metrics))
    dropped: Counter[str] = Counter()
    trials = []
    for data, state in found:
        if state in _UNFINISHED:
            dropped[f"{state}: not finished"] += 1
            continue
        values = _group(data, "params")
        trials.append(
            _make(values, _group(data, "metrics").get(metric), state, {f"param:{k}": v for k, v in values.items()})
        )
    return Found(trials, metric, direction, task, dropped=dropped)


def _experiments(content: Any) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield (data, state) of every experiment below every baseline."""
    for baseline in content:
        for experiment in baseline.get("experiments") or []:
            latest = experiment["revs"][0]
            executor = experiment.get("executor") or {}
            data = latest.get("data") or {}
            yield data, "failed" if latest.get("error") else str(executor.get("state") or "").lower()


def _group(data: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the values of all files of a kind, nested names joined by a dot as DVC does."""
    merged: dict[str, Any] = {}
    for file in (data.get(kind) or {}).values():
        merged.update({name.replace("/", "."): value for name, value in flatten(file.get("data") or {}).items()})
    return merged
