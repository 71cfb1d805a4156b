"""Weights & Biases: the csv export of a table of runs, or a project or sweep through its API."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.past_trials.source import FROM_NAME, Found, PastTrial, Wanted, choose_metric, missing_package
from metaflow_hpo.adapters.past_trials.spaces import make_choices, make_range
from metaflow_hpo.adapters.past_trials.tables import TableForm, find_measured, read_other_table, read_rows
from metaflow_hpo.adapters.past_trials.values import flatten, pick, to_number, to_status
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.hyperparameter import Hyperparameter

_ABOUT_THE_RUN = (
    "Name",
    "Agent",
    "State",
    "Notes",
    "User",
    "Tags",
    "Created",
    "Runtime",
    "Sweep",
    "Group",
    "Job Type",
    "ID",
    "Commit",
    "GitHub",
    "End Time",
    "Hostname",
    "Updated",
)
_SUMMARY = ("_step", "_runtime", "_timestamp", "_wandb", "epoch", "global_step", "trainer/global_step")
_CHART = " - "


class WandbSource:
    """A file or project is a task unless a column names it; a summary has the last value of a metric."""

    name = "wandb"

    def knows(self, columns: Sequence[str]) -> bool:
        """Tell an export of runs by its first columns."""
        return {"Name", "State"} <= set(columns) and bool({"Runtime", "Created", "Sweep"} & set(columns))

    def read_table(self, table: pd.DataFrame, wanted: Wanted) -> Found:
        """Read an export of runs: configuration first, then the summary; the boundary is not marked."""
        columns = [str(c) for c in table.columns]
        free = [c for c in columns if c not in _ABOUT_THE_RUN and c != wanted.task]
        measured = find_measured(table, free)
        metric, direction = choose_metric(wanted, measured if wanted.metric in {None, *measured} else free)
        ends = [columns.index(c) for c in (metric, *measured, *(s for s in _SUMMARY if s in columns))]
        config = [c for c in columns[: min(ends)] if c in free]
        summary = [c for c in free if c not in config and c != metric]
        form = TableForm(
            metric=metric,
            status="State",
            duration="Runtime",
            ignored=tuple(c for c in (*_ABOUT_THE_RUN, *summary) if c != wanted.task),
            task=f"{FROM_NAME}:wandb",
        )
        task = wanted.task or f"{FROM_NAME}:wandb"
        left_out = dict.fromkeys(summary, "of the summary: it comes after the configuration")
        return read_rows(table, form, metric, direction, _with_task(wanted, task), left_out=left_out)

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read an export, or all runs of a project.

        Args:
            address: csv of the table of runs, a frame, `ENTITY/PROJECT` or `ENTITY/PROJECT/sweeps/ID`.
            wanted: `metric` is a column of the summary; `task` is a column, `tag`, or `name:NAME`; through the API `at`
                is `last` (the default), `best` or a step.
        """
        if isinstance(address, pd.DataFrame):
            return self.read_table(address, wanted)
        text = str(address)
        if text.lower().endswith((".csv", ".parquet")):
            path = Path(text).expanduser()
            named = wanted if wanted.task is not None else _with_task(wanted, f"{FROM_NAME}:{path.stem}")
            return read_other_table(self, path, named)
        try:
            import wandb  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            raise missing_package("Weights & Biases", "wandb") from error
        api = wandb.Api()
        project, _, sweep = text.partition("/sweeps/")
        runs = list(api.sweep(f"{project}/{sweep}").runs if sweep else api.runs(project))
        return read_runs(runs, wanted, project.rpartition("/")[2])


def _with_task(wanted: Wanted, task: str) -> Wanted:
    from dataclasses import replace

    return replace(wanted, task=task)


def read_runs(runs: Iterable[Any], wanted: Wanted, project: str) -> Found:
    """Read runs of the API.

    Args:
        runs: Objects with `state, config, summary, scan_history(keys=...), tags, name, sweep`, as `wandb.Api` gives.
        wanted: What a person asks for.
        project: Names the task unless something else does.
    """
    read = list(runs)
    metrics = {
        m: None
        for run in read
        for m, v in dict(run.summary).items()
        if not m.startswith("_") and to_number(v) is not None
    }
    metric, direction = choose_metric(wanted, list(metrics))
    dropped: Counter[str] = Counter()
    trials = []
    known: dict[str, list[Hyperparameter]] = {}
    for run in read:
        status = to_status(run.state)
        if status is None:
            dropped[f"{run.state}: not finished"] += 1
            continue
        points = [
            (float(line["_step"]), number)
            for line in run.scan_history(keys=["_step", metric])
            if (number := to_number(line.get(metric))) is not None
        ] or [(0.0, number) for number in [to_number(run.summary.get(metric))] if number is not None]
        value, curve = pick(points, wanted.at or "last", direction)
        sweep = getattr(run, "sweep", None)
        if sweep is not None and sweep.id not in known:
            known[sweep.id] = _read_sweep(sweep.config.get("parameters", {}))
        trials.append(
            PastTrial(
                configuration={k: v for k, v in dict(run.config).items() if not k.startswith("_")},
                value=value,
                status=status,
                reason="" if status == "ok" else str(run.state),
                curve=curve if len(points) > 1 else (),
                duration_s=to_number(run.summary.get("_runtime")),
                labels={
                    "project": project,
                    **({"tag": run.tags[0]} if run.tags else {}),
                    **{f"param:{name}": v for name, v in flatten(dict(run.config)).items()},
                },
            )
        )
    return Found(trials, metric, direction, "project", list(known.values()), dropped=dropped)


def _read_sweep(parameters: Mapping[str, Any], above: str = "") -> list[Hyperparameter]:
    """Return the ranges of a sweep's configuration."""
    made: list[Hyperparameter] = []
    for name, item in parameters.items():
        if "parameters" in item:
            made += _read_sweep(item["parameters"], f"{above}{name}/")
        elif "values" in item:
            made.append(make_choices(above + name, item["values"]))
        elif {"min", "max"} <= set(item):
            log = str(item.get("distribution", "")).endswith("log_uniform_values")
            made.append(make_range(above + name, item["min"], item["max"], log=log))
        elif set(item) != {"value"}:
            raise InvalidTableError(f"Unknown range of {name!r} in the sweep: {dict(item)}. Export its runs as csv.")
    return made
