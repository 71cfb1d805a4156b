"""What was recommended, and what came of it: the record that monitoring and lineage read.

The one thing to know: a recommendation is named by what it was made from (rows of the task, version of the surrogate,
observed trials), so the same question gives the same `recommendation_id`.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from metaflow_hpo.adapters.clock import now
from metaflow_hpo.adapters.files import locked, read_json, write_json
from metaflow_hpo.adapters.journal import Journal
from metaflow_hpo.adapters.pipeline import Pipeline, logger
from metaflow_hpo.adapters.store import DEFAULT_LEARNER
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.metric import KNOWN_METRICS
from metaflow_hpo.space import Configuration, configuration_id

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from metaflow_hpo.recommender.observed import ObservedTrial

_ID = re.compile(r"[0-9a-f]{16}")
OUTCOME_COLUMNS = (
    "recommendation_id", "time", "source", "task_id", "task_sha256", "learner", "surrogate_version", "configuration_id",
    "rank", "metric", "mean", "low", "high", "coverage", "realised", "percentile",
)  # fmt: skip


def identify(
    sha256: str, lineage: Mapping[str, Any], observed: "Sequence[ObservedTrial]" = (), *, per_time: bool = False
) -> str:
    """Return the `recommendation_id`, 16 hexadecimal digits that depend on task, surrogate, observed trials and aim."""
    made_by = [str(lineage.get(name)) for name in ("surrogate_name", "surrogate_version", "mlflow_run_id")]
    seen = sorted([configuration_id(o.configuration), float(o.performance)] for o in observed)
    aim = ["per_time"] if per_time else []
    return hashlib.sha256(json.dumps([sha256, made_by, seen, *aim]).encode()).hexdigest()[:16]


def remember(pipeline: Pipeline, answer: Mapping[str, Any]) -> None:
    """Keep an answer of `advise.recommend`, so that outcomes and lineage find it; the longest list for an id stays.

    A data folder that cannot be written to costs the record, not the answer.
    """
    name = str(answer["lineage"]["recommendation_id"])
    path = _path(pipeline, name)
    try:
        known = read_recommendation(pipeline, name) if path.is_file() else None
        if known is None or len(known["recommendations"]) < len(answer["recommendations"]):
            write_json(path, {"time": now() if known is None else known["time"], **answer})
    except OSError as error:
        logger.warning("The recommendation %s is not recorded for later feedback: %s", name, error)


def read_recommendation(pipeline: Pipeline, recommendation_id: str) -> dict[str, Any]:
    """Return what was recommended.

    Raises:
        MetaflowHPOError: If nothing was recommended under this id here.
    """
    if not _ID.fullmatch(recommendation_id) or not _path(pipeline, recommendation_id).is_file():
        known = [str(answer["lineage"]["recommendation_id"]) for answer in read_recommendations(pipeline)]
        raise MetaflowHPOError(
            f"Expected the id of a recommendation made here; found {recommendation_id!r}. "
            f"The latest of {len(known)}: {', '.join(known[-5:]) or 'none'}. "
            "See `lineage.recommendation_id` of `metaflow-hpo recommend --json`."
        )
    return dict(read_json(_path(pipeline, recommendation_id), remedy="Delete it and ask again."))


def read_recommendations(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Return everything that was recommended here, oldest first."""
    paths = _folder(pipeline).glob("recommendations/*.json")
    found = [dict(read_json(path, remedy="Delete it.")) for path in paths]
    return sorted(found, key=lambda answer: (str(answer["time"]), str(answer["lineage"]["recommendation_id"])))


def find_recommendation(pipeline: Pipeline, sha256: str, configuration: Configuration, metric: str) -> str | None:
    """Return the id of the latest recommendation of a configuration for these rows by this metric, or None."""
    wanted = configuration_id(configuration)
    for answer in reversed(read_recommendations(pipeline)):
        listed = [
            configuration_id(r["configuration"])
            for r in answer["recommendations"]
            if r["performance"]["metric"] == metric
        ]
        if answer["task"]["sha256"] == sha256 and wanted in listed:
            return str(answer["lineage"]["recommendation_id"])
    return None


def record_outcomes(
    pipeline: Pipeline, recommendation_id: str, outcomes: Sequence[tuple[Configuration, float]], *, source: str
) -> list[dict[str, Any]]:
    """Record what configurations came to, beside what was predicted; what is recorded already is not recorded twice.

    Args:
        pipeline: The surroundings.
        recommendation_id: Of `lineage` of the recommendation.
        outcomes: Configurations and their performance, in the units of the answer; NaN for a failed training.
            Those that were not recommended are passed over.
        source: Where the numbers are from: `feedback` or `train`.

    Returns:
        The lines that are new.

    Raises:
        MetaflowHPOError: If the id is unknown, no configuration was recommended, or a performance cannot be one.
    """
    answer = read_recommendation(pipeline, recommendation_id)
    predicted = {configuration_id(r["configuration"]): r for r in answer["recommendations"]}
    named = [(configuration_id(configuration), value) for configuration, value in outcomes]
    matching = [(name, value) for name, value in named if name in predicted]
    if not matching:
        raise MetaflowHPOError(
            f"Expected trials of configurations that {recommendation_id} recommended ({len(predicted)}); none of the "
            f"{len(named)} is one. Give the trials of `metaflow-hpo recommend --json`, values unchanged."
        )
    metric = answer["recommendations"][0]["performance"]["metric"]
    of_name = KNOWN_METRICS.get(metric)
    highest = math.inf if of_name is None or of_name.direction == "min" else of_name.highest
    too_high = [value for _, value in matching if value > highest or math.isinf(value)]
    if too_high:
        raise MetaflowHPOError(f"Expected {metric}, at most {highest:g}; found {too_high[:5]}. Give that score.")
    lines = [_line(answer, predicted[name], name, value, source) for name, value in matching]
    with locked(_folder(pipeline)):
        journal = _journal(pipeline)
        known = {_key(line) for line in journal.read()}
        fresh = []
        for line in lines:
            if _key(line) not in known:
                known.add(_key(line))
                journal.append(line)
                fresh.append(line)
    return fresh


def _line(
    answer: Mapping[str, Any], predicted: Mapping[str, Any], name: str, realised: float, source: str
) -> dict[str, Any]:
    performance, lineage = predicted["performance"], answer["lineage"]
    return {
        "recommendation_id": lineage["recommendation_id"],
        "time": now(),
        "source": source,
        "task_id": answer["task"]["task_id"],
        "task_sha256": answer["task"]["sha256"],
        "learner": learner_of(answer),
        "surrogate_version": str(lineage["surrogate_version"]),
        "configuration_id": name,
        "rank": predicted["rank"],
        **{key: performance[key] for key in ("metric", "mean", "low", "high", "coverage")},
        "realised": float(realised),
        "percentile": answer["novelty"]["percentile"],
    }


def _key(line: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(line["recommendation_id"]), str(line["configuration_id"]), f"{line['realised']:.9g}"


def read_outcomes(pipeline: Pipeline) -> pd.DataFrame:
    """Return every outcome, oldest first; of one that was recorded without a learner it is the default one."""
    found = pd.DataFrame(_journal(pipeline).read(), columns=list(OUTCOME_COLUMNS))
    return found.assign(learner=found["learner"].astype(object).fillna(DEFAULT_LEARNER))


def monitor(pipeline: Pipeline) -> "tuple[dict[str, Any], dict[str, Figure]]":
    """Compare what was predicted with what came true, over everything recorded here, for each learner apart.

    Returns:
        The numbers of the learner of the settings, and under `learners` those of all, which
        `data/feedback/monitoring.json` keeps; and a plot a learner, that of the settings first.
    """
    from metaflow_hpo.evaluate.monitoring import plot_monitoring

    outcomes, asked = read_outcomes(pipeline), read_recommendations(pipeline)
    own = pipeline.learner_name
    others = {*outcomes["learner"], *map(learner_of, asked)} - {own}
    reports: dict[str, dict[str, Any]] = {}
    figures: dict[str, Figure] = {}
    for learner in [own, *sorted(others)]:
        came = outcomes.loc[outcomes["learner"] == learner]
        of_it = [answer for answer in asked if learner_of(answer) == learner]
        novelty = pd.DataFrame(
            [{"time": a["time"], "percentile": a["novelty"]["percentile"]} for a in of_it],
            columns=["time", "percentile"],
        ).astype({"percentile": "float64"})
        reports[learner] = _sum_up(came, of_it, novelty)
        figures[learner] = plot_monitoring(came, novelty)
    report = {**reports[own], "learners": reports}
    write_json(monitoring_path(pipeline), report)
    return report, figures


def _sum_up(outcomes: pd.DataFrame, asked: Sequence[Mapping[str, Any]], novelty: pd.DataFrame) -> dict[str, Any]:
    from metaflow_hpo.evaluate.monitoring import monitor_outcomes

    return {
        **asdict(monitor_outcomes(outcomes)),
        "recommendations": len(asked),
        "median_novelty": float(novelty["percentile"].median()) if novelty["percentile"].notna().any() else None,
        "fallback_fraction": sum(bool(a["novelty"]["fallback"]) for a in asked) / len(asked) if asked else None,
    }


def learner_of(answer: Mapping[str, Any]) -> str:
    """Return whose configurations were recommended; of an old answer it is the default one."""
    return str(answer.get("learner") or DEFAULT_LEARNER)


def read_monitoring(pipeline: Pipeline) -> dict[str, Any] | None:
    """Return the numbers of the last monitoring, or None before the first."""
    path = monitoring_path(pipeline)
    return dict(read_json(path, remedy="Materialize recommendation_monitoring.")) if path.is_file() else None


def monitoring_path(pipeline: Pipeline) -> Path:
    """Return the file with the numbers of the last monitoring."""
    return _folder(pipeline) / "monitoring.json"


def _folder(pipeline: Pipeline) -> Path:
    return pipeline.store.data / "feedback"


def _path(pipeline: Pipeline, recommendation_id: str) -> Path:
    return _folder(pipeline) / "recommendations" / f"{recommendation_id}.json"


def _journal(pipeline: Pipeline) -> Journal:
    return Journal(_folder(pipeline) / "outcomes.jsonl")
