"""MLflow: runs on a server, in a database or in a folder, with the history of their metric."""

import ast
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from metaflow_hpo.adapters.past_trials.tables import TableForm, read_other_table, read_rows
from metaflow_hpo.adapters.past_trials.values import from_text, pick, to_status
from metaflow_hpo.errors import InvalidTableError, listed
from metaflow_hpo.hyperparameter import Hyperparameter

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_PAGE = 1000
_FOLDERS = "MLFLOW_ALLOW_FILE_STORE"
_INFINITE = 1.797e308
"""From here on MLflow means infinity, which its databases cannot hold."""
_OPTUNA_DIRECTIONS: Mapping[str, Direction] = {"MAXIMIZE": "max", "MINIMIZE": "min"}


Points = list[tuple[float, float]]
"""Steps and values of a metric."""


@dataclass
class MetricHistories:
    """The histories of a metric by run and the time of its end: each costs a request, so none is read twice.

    Attributes:
        known: Those that were read.
        fresh: How many of them were read by this object.
    """

    known: dict[tuple[str, int], Points] = field(default_factory=dict)
    fresh: int = 0

    def read(self, client: "MlflowClient", run: "Run", metric: str) -> Points:
        """Return the history of a run's metric, empty where it has none."""
        if metric not in run.data.metrics:
            return []
        key = (str(run.info.run_id), int(run.info.end_time or 0))
        if key not in self.known:
            self.known[key] = _read_history(client, run, metric)
            self.fresh += 1
        return self.known[key]


@dataclass
class MlflowSource:
    """Experiments are tasks unless a person says otherwise; parameters are text and are read as what they stand for.

    Attributes:
        histories: Histories of the one metric that is asked for, where some were read before.
    """

    histories: MetricHistories = field(default_factory=MetricHistories)
    name: str = "mlflow"

    def knows(self, columns: Sequence[str]) -> bool:
        """Tell a table of `mlflow.search_runs` by its columns."""
        return "run_id" in columns and any(c.startswith("params.") for c in columns)

    def read_table(self, table: pd.DataFrame, wanted: Wanted) -> Found:
        """Read a table of `mlflow.search_runs`: each metric has its last value only."""
        metrics = [c.removeprefix("metrics.") for c in map(str, table.columns) if c.startswith("metrics.")]
        metric, direction = choose_metric(wanted, metrics)
        if {"start_time", "end_time"} <= set(table.columns):
            moments = [pd.to_datetime(table[c], errors="coerce", utc=True) for c in ("start_time", "end_time")]
            table = table.assign(duration_s=(moments[1] - moments[0]).dt.total_seconds())
        form = TableForm(
            metric=f"metrics.{metric}",
            prefixes=("params.",),
            status="status",
            duration="duration_s",
            labels={"tags.": "tag"},
            ignored=("metrics.", "start_time", "end_time", "artifact_uri"),
            task="experiment_id",
        )
        return read_rows(table, form, metric, direction, wanted)

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read the runs of all experiments of a tracking server.

        Args:
            address: `http://server:5000`, `sqlite:///mlflow.db`, a database file, a folder `mlruns`, or a csv.
            wanted: `task` is `experiment` (the default), `parent`, `tag:NAME` or `param:NAME`; `only` a glob of
                experiments; `at` is `last` (the default), `best` or a step.
        """
        if isinstance(address, pd.DataFrame):
            return self.read_table(address, wanted)
        text = str(address)
        if text.lower().endswith((".csv", ".parquet")):
            return read_other_table(self, Path(text).expanduser(), wanted)
        try:
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise missing_package("MLflow", "mlflow") from error
        try:
            with _allowing_folders():
                client = MlflowClient(tracking_uri=_to_uri(text))
                runs = list(_list_runs(client, wanted))
                return _read_runs(client, runs, wanted, self.histories)
        except MlflowException as error:
            first = str(error).splitlines()[0]
            raise InvalidTableError(
                f"Expected MLflow's runs; they cannot be read ({first}). Check the address; an older database is "
                "brought up to date by: mlflow db upgrade URL."
            ) from error


@contextmanager
def _allowing_folders() -> Iterator[None]:
    """Let MLflow 3.17 and later read folders, which it otherwise refuses to open: nothing is written into them."""
    before = os.environ.get(_FOLDERS)
    os.environ[_FOLDERS] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FOLDERS]
        else:
            os.environ[_FOLDERS] = before


def _to_uri(address: str) -> str:
    if address.startswith("sqlite:///"):
        existing(
            address.removeprefix("sqlite:///").partition("?")[0], "MLflow's database"
        )  # an empty one would be made
    if "://" in address:
        return address
    path = existing(address, "MLflow's folder or database").resolve()
    return f"sqlite:///{path}" if path.is_file() else path.as_uri()


def _list_runs(client: "MlflowClient", wanted: Wanted) -> "Iterator[tuple[str, Run]]":
    """Yield (name of the experiment, run), page by page: a long list must not be cut."""
    experiments = list(client.search_experiments(max_results=_PAGE))
    chosen = [one for one in experiments if wanted.only is None or fnmatchcase(one.name, wanted.only)]
    if not chosen:
        names = [one.name for one in experiments]
        raise InvalidTableError(f"Expected experiments named {wanted.only or '*'}; found {listed(names) or 'none'}.")
    for experiment in sorted(chosen, key=lambda one: one.name):
        token = None
        while True:
            page = client.search_runs(
                [experiment.experiment_id], max_results=_PAGE, page_token=token, order_by=["start_time"]
            )
            for run in page:
                yield experiment.name, run
            token = page.token
            if not token:
                break


def _read_runs(
    client: "MlflowClient", runs: "Sequence[tuple[str, Run]]", wanted: Wanted, histories: MetricHistories
) -> Found:
    metrics = list(dict.fromkeys(name for _, run in runs for name in run.data.metrics))
    told = {_OPTUNA_DIRECTIONS.get(run.data.tags.get("direction", "").rpartition(".")[2]) for _, run in runs} - {None}
    metric, direction = choose_metric(wanted, sorted(metrics), told.pop() if len(told) == 1 else None)
    names = {run.info.run_id: run.info.run_name or run.info.run_id for _, run in runs}
    parents = {run.data.tags.get("mlflow.parentRunId") for _, run in runs}
    dropped: Counter[str] = Counter()
    trials = []
    for experiment, run in runs:
        state = run.data.tags.get("state", run.info.status) if _is_of_optuna(run) else run.info.status
        status = to_status(state)
        if status is None:
            dropped[f"{run.info.status.lower()}: not finished"] += 1
            continue
        if run.info.run_id in parents and metric not in run.data.metrics:
            dropped["a parent run, whose trials are its children"] += 1
            continue
        points = histories.read(client, run, metric)
        value, curve = pick(points, wanted.at or "last", direction)
        ended = run.info.end_time
        parent = run.data.tags.get("mlflow.parentRunId")
        trials.append(
            PastTrial(
                configuration={name: from_text(text) for name, text in run.data.params.items() if text != ""},
                value=value,
                status=status,
                reason="" if status == "ok" else state.lower(),
                curve=curve if len(points) > 1 else (),
                duration_s=(ended - run.info.start_time) / 1000 if ended else None,
                labels={
                    "experiment": experiment,
                    **({} if parent is None else {"parent": names.get(parent, parent)}),
                    **{f"tag:{name}": value for name, value in run.data.tags.items()},
                    **{f"param:{name}": value for name, value in run.data.params.items()},
                },
            )
        )
    known = [[hp] for hp in _read_distributions(run for _, run in runs)]
    return Found(trials, metric, direction, "experiment", known, dropped=dropped)


def _is_of_optuna(run: "Run") -> bool:
    """Tell a run that Optuna's callback logged: it is FINISHED whatever became of the trial."""
    return "state" in run.data.tags and any(name.endswith("_distribution") for name in run.data.tags)


def _read_history(client: "MlflowClient", run: "Run", metric: str) -> Points:
    points = sorted(client.get_metric_history(run.info.run_id, metric), key=lambda point: (point.step, point.timestamp))
    return [(p.step, math.copysign(math.inf, p.value) if abs(p.value) >= _INFINITE else p.value) for p in points]


def _read_distributions(runs: "Iterator[Run]") -> list[Hyperparameter]:
    """Return the ranges in the tags of Optuna's callback, `lr_distribution = FloatDistribution(high=.1, ...)`."""
    from metaflow_hpo.adapters.past_trials.optuna import distribution_to_hyperparameter

    suffix = "_distribution"
    texts = {(tag, text) for run in runs for tag, text in run.data.tags.items() if tag.endswith(suffix)}
    found = []
    for tag, text in sorted(texts):
        try:
            call = ast.parse(text, mode="eval").body
            keywords = call.keywords if isinstance(call, ast.Call) else []
            fields = {str(one.arg): ast.literal_eval(one.value) for one in keywords}
        except (SyntaxError, ValueError):
            continue  # a tag of the person's own with that name
        if "choices" in fields or {"low", "high"} <= set(fields):
            found.append(distribution_to_hyperparameter(tag.removesuffix(suffix), fields))
    return found
