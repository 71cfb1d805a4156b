"""The end of the demo: a table the surrogate has never seen, recommended for, trained, compared."""

from pathlib import Path
from typing import Any

from metaflow_hpo.actions import advise, own_trials
from metaflow_hpo.adapters.files import write_csv
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.sources.builtin import builtin_specs, load_builtin
from metaflow_hpo.settings import DEMO_HELD_OUT
from metaflow_hpo.trial import Trial

RANDOM_TRIALS = 10


def write_held_out(pipeline: Pipeline) -> tuple[Path, str]:
    """Write the held-out task as the csv a person would bring; return its path and target."""
    spec = next(spec for spec in builtin_specs() if spec.task_id == DEMO_HELD_OUT)
    data = load_builtin(spec)
    target = [data.class_names[int(c)] for c in data.target] if data.class_names else data.target
    frame = data.features.assign(**{data.task.target: target})
    path = pipeline.store.data / "demo" / f"{DEMO_HELD_OUT}.csv"
    write_csv(path, frame)
    return path, data.task.target


def compare_on_held_out(pipeline: Pipeline, path: Path, target: str) -> tuple[dict[str, Any], list[list[Any]]]:
    """Recommend for the table and train with it: the first recommendation, the five, the default, random search."""
    described = advise.describe_file(path, target)
    answer = advise.recommend(pipeline, described, 5)
    configurations = [r["configuration"] for r in answer["recommendations"]]
    default = pipeline.learner.space.default
    *recommended, plain = own_trials.train(pipeline, described.data, [*configurations, default])
    random = own_trials.search(pipeline, described.data, strategy="random", trials=RANDOM_TRIALS)
    rows = [
        _row("default", [plain]),
        _row(f"random search, best of {RANDOM_TRIALS}", random),
        _row("first recommendation", recommended[:1]),
        _row("best of the five recommendations", recommended),
    ]
    return answer, rows


def _row(name: str, trials: list[Trial]) -> list[Any]:
    ok = [trial for trial in trials if trial.status == "ok"]
    seconds = sum(trial.duration_s for trial in trials)
    if not ok:
        return [name, "failed", "failed", seconds]
    best = max(ok, key=lambda trial: trial.performance)
    return [name, best.performance, best.test_performance, seconds]
