"""Ray Tune: the folder of an experiment with each trial's `params.json` and `result.json`, or the frame of results."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.past_trials.folders import EXPERIMENT, find_experiments, read_json_file, read_json_lines
from metaflow_hpo.adapters.past_trials.source import Found, PastTrial, Status, Wanted, choose_metric
from metaflow_hpo.adapters.past_trials.tables import TableForm, find_steps, read_other_table, read_rows
from metaflow_hpo.adapters.past_trials.values import flatten, pick, to_number

_ABOUT_THE_RUN = (
    "timestamp",
    "checkpoint_dir_name",
    "done",
    "training_iteration",
    "trial_id",
    "date",
    "time_this_iter_s",
    "time_total_s",
    "pid",
    "hostname",
    "node_ip",
    "time_since_restore",
    "iterations_since_restore",
    "logdir",
    "experiment_tag",
    "should_checkpoint",
    "timesteps_since_restore",
    "timesteps_total",
    "episodes_total",
    "node_id",
    "warmup_time",
)
_STEP = "training_iteration"
_STATUS = "status of the trial"


class RaySource:
    """Experiments are tasks; a trial with `error.txt` failed; one that a scheduler ended early is stopped."""

    name = "ray"

    def knows(self, columns: Sequence[str]) -> bool:
        """Tell the frame of `ResultGrid.get_dataframe` by its columns."""
        return any(c.startswith("config/") for c in columns) and bool({_STEP, "trial_id"} & set(columns))

    def read_table(self, table: pd.DataFrame, wanted: Wanted) -> Found:
        """Read a frame of results: one line a trial or a report; it does not say what failed."""
        other = ("config/", *_ABOUT_THE_RUN)
        metrics = [
            c
            for c in map(str, table.columns)
            if not c.startswith(other) and c != wanted.task and any(to_number(v) is not None for v in table[c])
        ]
        metric, direction = choose_metric(wanted, metrics)
        key = [c for c in ("trial_id", "logdir") if c in table.columns][:1]
        step = find_steps(table, key) if key else None
        form = TableForm(
            metric=metric,
            prefixes=("config/",),
            duration="time_total_s",
            trial=key[0] if key else None,
            step=step,
            ignored=tuple(c for c in (_STATUS, *_ABOUT_THE_RUN, *metrics) if c != wanted.task),
            task="experiment",
        )
        note = "A table of Ray does not say which trials failed: the experiment's folder does."
        marked = _mark_stopped(table, key)
        return read_rows(marked, replace(form, status=_STATUS), metric, direction, wanted, notes=[note])

    def knows_file(self, path: Path) -> bool:
        """Tell the folder of an experiment by its state and its trials."""
        return path.is_dir() and any(path.glob("*/params.json")) and any(path.glob("*/result.json"))

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read an experiment, or all those in a folder.

        Args:
            address: Folder of an experiment (`~/ray_results/name`), of several, a frame, or its csv.
            wanted: `task` is `experiment` (the default) or `param:NAME`; `at` is `last` (the default), `best` or a
                step.
        """
        if isinstance(address, pd.DataFrame):
            return self.read_table(address, wanted)
        if str(address).lower().endswith((".csv", ".parquet")):
            return read_other_table(self, Path(str(address)).expanduser(), wanted)
        folders = find_experiments(address, self.knows_file, "an experiment of Ray Tune", wanted)
        records = [
            (name, folder, read_json_lines(folder / "result.json") if (folder / "result.json").is_file() else [])
            for name, experiment in folders.items()
            for folder in sorted(path.parent for path in experiment.glob("*/params.json"))
        ]
        metrics = {
            m: None
            for _, _, reports in records
            for report in reports
            for m, value in flatten({k: v for k, v in report.items() if k not in {"config", *_ABOUT_THE_RUN}}).items()
            if to_number(value) is not None
        }
        metric, direction = choose_metric(wanted, list(metrics))
        states = {name: _read_states(experiment) for name, experiment in folders.items()}
        longest = Counter[str]()
        for name, _, reports in records:
            longest[name] = max(longest[name], *(int(report.get(_STEP, 0)) for report in reports), 0)
        dropped: Counter[str] = Counter()
        trials = []
        for name, folder, reports in records:
            trial_id = reports[-1].get("trial_id", "") if reports else ""
            status, reason = _judge(folder, reports, states[name].get(trial_id), longest[name])
            if status is None:
                dropped[reason] += 1
                continue
            points = [
                (float(report.get(_STEP, i)), number)
                for i, report in enumerate(reports)
                if (number := to_number(flatten(report).get(metric))) is not None
            ]
            value, curve = pick(points, wanted.at or "last", direction)
            configuration = read_json_file(folder / "params.json")
            trials.append(
                PastTrial(
                    configuration=configuration,
                    value=value,
                    status=status,
                    reason=reason,
                    curve=curve if len(points) > 1 else (),
                    duration_s=to_number(reports[-1].get("time_total_s")) if reports else None,
                    labels={EXPERIMENT: name, **{f"param:{k}": v for k, v in flatten(configuration).items()}},
                )
            )
        return Found(trials, metric, direction, EXPERIMENT, dropped=dropped)


def _mark_stopped(table: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """Add what became of each trial: stopped where it was ended before the most iterations."""
    if not {_STEP, "done"} <= set(table.columns):
        return table.assign(**{_STATUS: "ok"})
    steps = pd.to_numeric(table[_STEP], errors="coerce")
    ended = table["done"].astype(str).str.lower().eq("true") & (steps < steps.max())
    if key:
        ended = ended.groupby(table[key[0]]).transform("max")
    return table.assign(**{_STATUS: ended.map({True: "stopped", False: "ok"})})


def _judge(
    folder: Path, reports: Sequence[Mapping[str, Any]], state: str | None, longest: int
) -> tuple[Status | None, str]:
    """Return what became of a trial and why; None where it has no outcome."""
    error = folder / "error.txt"
    if error.is_file() or state == "ERROR":
        text = error.read_text(encoding="utf-8", errors="replace").strip() if error.is_file() else ""
        return "failed", text.splitlines()[-1].strip() if text else "error"
    if state in {"RUNNING", "PENDING", "PAUSED"}:
        return None, f"{state.lower()}: not finished"
    if not reports:
        return None, "no report"
    # Ray marks as done what its scheduler or a stopping rule ended; a function that returns does not.
    if reports[-1].get("done") and int(reports[-1].get(_STEP, longest)) < longest:
        return "stopped", "ended by the scheduler"
    return "ok", ""


def _read_states(experiment: Path) -> dict[str, str]:
    """Return each trial's state by its id, from the latest state of the experiment."""
    files = sorted(experiment.glob("experiment_state-*.json"))
    if not files:
        return {}
    states = {}
    for line in read_json_file(files[-1]).get("trial_data", []):
        trial = json.loads(line[0]) if isinstance(line, list) else json.loads(line)
        states[str(trial.get("trial_id"))] = str(trial.get("status"))
    return states
