"""Runs that people log into MLflow join the pipeline, as trials of a learner that the setting `imports` names.

What is here afterwards is what the experiments hold now, so an import can be repeated at will; only the history of a
metric is dear, and it is read once a run. The tasks are opaque: of their data nothing is known.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from metaflow_hpo.actions.own_history import IMPORTED, kept, own_tasks
from metaflow_hpo.adapters.files import read_frame, read_json, write_frame, write_json
from metaflow_hpo.adapters.own_tasks import OwnTask
from metaflow_hpo.adapters.past_trials.build import Imported, build
from metaflow_hpo.adapters.past_trials.mlflow import MetricHistories, MlflowSource
from metaflow_hpo.adapters.past_trials.source import Found, PastTrial, Wanted
from metaflow_hpo.adapters.pipeline import Metadata, Pipeline, logger
from metaflow_hpo.adapters.secrets import keep_credentials_apart
from metaflow_hpo.errors import MetaflowHPOError, SearchSpaceMismatchError
from metaflow_hpo.learners.learner import Fidelity
from metaflow_hpo.learners.recorded import RecordedLearner, to_card
from metaflow_hpo.learners.registry import LEARNERS
from metaflow_hpo.metric import KNOWN_METRICS, Metric
from metaflow_hpo.modalities.hints import make_id
from metaflow_hpo.settings import RunImport
from metaflow_hpo.space import SearchSpace, configuration_id
from metaflow_hpo.tables import META_PREFIX, read_configuration
from metaflow_hpo.task import OPAQUE, Task
from metaflow_hpo.trial import Trial

_IS_IMPORTED = "imported"
"""Mark on the card of a learner that is known by its imported runs alone."""


class ImportsFailedError(MetaflowHPOError):
    """Some imports of the settings could not be made; all others were."""


def import_runs(pipeline: Pipeline) -> dict[str, Metadata]:
    """Bring the trials of every import of the settings up to date.

    Returns:
        Of each learner: `tasks`, `trials`, `new_runs` (whose metric was read), `dropped` by reason, `left_out` (what is
        no hyperparameter, and why), and `changed`, whether there is anything to learn that was not there before.

    Raises:
        ImportsFailedError: If an import could not be made; all others were.
        MetaflowHPOError: If the settings forbid to learn from them.
    """
    if pipeline.settings.imports and not pipeline.settings.learn:
        raise MetaflowHPOError(
            "Imported runs are learned from; the setting `learn` forbids it. Set it, or no `imports`."
        )
    reports, failures = {}, {}
    for done, one in enumerate(pipeline.settings.imports, start=1):
        try:
            reports[one.learner] = _import(pipeline, one)
        except MetaflowHPOError as error:
            logger.warning("The runs of %s are not imported: %s", one.learner, error)
            failures[one.learner] = str(error)
        pipeline.progress("imports", done, len(pipeline.settings.imports))
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise ImportsFailedError(f"{len(failures)} of {len(pipeline.settings.imports)} imports failed: {reasons}")
    return reports


def _import(pipeline: Pipeline, one: RunImport) -> Metadata:
    if one.learner in LEARNERS.built_in:
        raise MetaflowHPOError(f"Expected a name of your own for what was tuned; {one.learner} is a learner of ours.")
    wanted = Wanted(
        metric=one.metric,
        mode=one.mode,
        task=one.task,
        at=one.at,
        features=one.task_features,
        assume=one.assume,
        leave_out=one.leave_out,
    )
    histories = _Kept.open(pipeline, one)
    found = _read(pipeline, one, wanted, histories.histories)
    imported = build(found, wanted)
    dropped = Counter(imported.dropped)
    space = _choose_space(pipeline, one.learner, imported.space)
    metric = _metric_of(imported)
    trials = _make_trials(imported, one, space, metric, dropped)
    changed = _write(pipeline, one, imported, metric, trials)
    histories.write()
    counted = {"tasks": len(trials), "trials": sum(map(len, trials.values())), "new_runs": histories.histories.fresh}
    return {**counted, "dropped": dict(dropped), "left_out": dict(imported.left_out), "changed": changed}


def _read(pipeline: Pipeline, one: RunImport, wanted: Wanted, histories: MetricHistories) -> Found:
    """Return the runs of all experiments of an import as one."""
    address = pipeline.tracking.tracking_uri if one.address is None else keep_credentials_apart(one.address)
    source = MlflowSource(histories)
    parts = [source.read(address, replace(wanted, only=name)) for name in one.experiments]
    trials: list[PastTrial] = []
    dropped: Counter[str] = Counter()
    for part in parts:
        seen = {trial.labels["experiment"] for trial in trials}  # a name may be matched twice
        trials += [trial for trial in part.trials if trial.labels["experiment"] not in seen]
        dropped.update(part.dropped)
    return replace(parts[0], trials=trials, known=[hp for part in parts for hp in part.known], dropped=dropped)


class _Kept:
    """The metric's histories that were read before, in a file."""

    def __init__(self, path: Path, histories: MetricHistories) -> None:
        self.path, self.histories = path, histories

    @classmethod
    def open(cls, pipeline: Pipeline, one: RunImport) -> "_Kept":
        digest = _digest(one.address, one.learner, one.metric)[:12]
        path = kept(pipeline, IMPORTED).folder / "histories" / f"{one.learner}-{digest}.parquet"
        known = {}
        if path.is_file():
            for row in read_frame(path, remedy="Delete it: the runs are read again.").to_dict("records"):
                points = list(zip(row["steps"].tolist(), row["values"].tolist(), strict=True))
                known[str(row["run_id"]), int(row["ended_at"])] = points
        return cls(path, MetricHistories(known))

    def write(self) -> None:
        if not self.histories.fresh:
            return
        rows = [
            {"run_id": run, "ended_at": ended, "steps": [s for s, _ in points], "values": [v for _, v in points]}
            for (run, ended), points in self.histories.known.items()
        ]
        write_frame(self.path, pd.DataFrame(rows))


def _choose_space(pipeline: Pipeline, learner: str, found: SearchSpace) -> SearchSpace:
    """Return the search space of a learner: its own where it is searched with here, else that of its runs."""
    path = pipeline.cards / f"{learner}.json"
    if path.is_file() and _IS_IMPORTED not in (card := read_json(path)):
        return RecordedLearner.from_card(card).space
    write_json(path, {**to_card(RecordedLearner(learner, (OPAQUE,), found, Fidelity())), _IS_IMPORTED: True})
    return found


def _make_trials(
    imported: Imported, one: RunImport, space: SearchSpace, metric: Metric, dropped: "Counter[str]"
) -> dict[str, list[Trial]]:
    """Return the trials by what their task is called in MLflow; those outside of the learner's space are dropped."""
    found: dict[str, list[Trial]] = {}
    repetitions: Counter[tuple[str, str]] = Counter()
    for row in imported.frame.to_dict("records"):
        try:
            configuration = space.validate(read_configuration(row, imported.space))
        except SearchSpaceMismatchError:
            dropped[f"outside of the search space that {one.learner} has here"] += 1
            continue
        name, repeated = str(row["task_id"]), (str(row["task_id"]), configuration_id(configuration))
        duration = row["duration_s"]
        trial = Trial(
            task_id=make_id(name),
            family=make_id(str(row["family"])),
            learner=one.learner,
            configuration=configuration,
            strategy=IMPORTED,
            seed=repetitions[repeated],
            fidelity=1,
            performance=metric.orient(row["performance"]),
            test_performance=metric.orient(row["test_performance"]),
            duration_s=duration if math.isfinite(duration) else 0.0,
            status=row["status"],
            reason=row["reason"],
            learning_curve=tuple(metric.orient(float(value)) for value in row["learning_curve"]),
            fidelity_unit=Fidelity().unit,
        )
        repetitions[repeated] += 1
        found.setdefault(name, []).append(trial)
    return found


def _metric_of(imported: Imported) -> Metric:
    """Return the metric that is known by this name, where all values can be its; else one without bounds."""
    plain = Metric(imported.metric, imported.direction)
    known = KNOWN_METRICS.get(imported.metric, plain)
    values = imported.frame["performance"].dropna()
    is_it = known.direction == imported.direction and all(known.admits(known.orient(value)) for value in values)
    return known if is_it else plain


def _write(
    pipeline: Pipeline, one: RunImport, imported: Imported, metric: Metric, trials: Mapping[str, list[Trial]]
) -> bool:
    """Write tasks and trials, and forget those of tasks that are there no more; tell whether anything changed."""
    tasks, folder = own_tasks(pipeline), kept(pipeline, IMPORTED)
    columns = [str(name) for name in imported.frame.columns if str(name).startswith(META_PREFIX)]
    described = imported.frame.groupby("task_id")[columns].first().to_dict("index") if columns else {}
    source, current, changed = f"{IMPORTED}/{one.learner}", set(), False
    for name, mine in trials.items():
        task = Task(
            task_id=mine[0].task_id,
            family=mine[0].family,
            modality=OPAQUE,
            metric=metric,
            licence="unspecified (own data)",
            source=source,
            sha256=_digest(one.address, one.learner, name),
        )
        features = {str(key): float(v) for key, v in described.get(name, {}).items() if math.isfinite(v)}
        changed |= tasks.write(OwnTask(task, frozenset(), features))
        changed |= folder.replace_trials(task, mine)
        current.add(task.sha256)
    for own in tasks.read():
        if own.task.source == source and own.task.sha256 not in current and folder.path(own.task).is_file():
            folder.drop(own.task)
            changed = True
    return changed


def _digest(*parts: str | None) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
