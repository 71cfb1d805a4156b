"""The end of the demo: a table the surrogate has never seen, and some pictures, recommended for, trained, compared."""

from pathlib import Path
from typing import Any

import numpy as np

from metaflow_hpo.actions import advise, own_trials
from metaflow_hpo.adapters.files import write_csv
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.sources.builtin import builtin_specs, load_builtin
from metaflow_hpo.errors import NoChampionError
from metaflow_hpo.settings import DEMO_HELD_OUT
from metaflow_hpo.space import configuration_id
from metaflow_hpo.trial import Trial

RANDOM_TRIALS = 10
PICTURES = 400
"""Of the digits that come with scikit-learn."""


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
    return _compare(pipeline, advise.describe_file(path, target), 5, RANDOM_TRIALS)


def can_answer(pipeline: Pipeline) -> bool:
    """Tell whether something of the learner ships or is served."""
    try:
        advise.load_recommender(pipeline)
    except NoChampionError:
        return False
    return True


def write_pictures(pipeline: Pipeline) -> Path:
    """Write some of scikit-learn's digits as a person would bring pictures: a folder with a folder a class."""
    from PIL import Image
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    folder = pipeline.store.data / "demo" / "digits"
    for number, (flat, digit) in enumerate(zip(pixels[:PICTURES], digits[:PICTURES], strict=True)):
        path = folder / str(digit) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((flat.reshape(8, 8) * 255 / 16).round().astype(np.uint8)).save(path)
    return folder


def compare_on_pictures(pipeline: Pipeline, folder: Path) -> tuple[dict[str, Any], list[list[Any]]]:
    """Recommend for the pictures and train with it: the first recommendation, the three, the default."""
    return _compare(pipeline, advise.describe_file(folder, None), 3, 0)


def _compare(
    pipeline: Pipeline, described: advise.Described, k: int, random_trials: int
) -> tuple[dict[str, Any], list[list[Any]]]:
    answer = advise.recommend(pipeline, described, k)
    configurations = [r["configuration"] for r in answer["recommendations"]]
    default = pipeline.learner.space.default
    # The default may be recommended, too; each configuration is trained once.
    distinct = {configuration_id(configuration): configuration for configuration in [*configurations, default]}
    trained = {t.configuration_id: t for t in own_trials.train(pipeline, described.data, list(distinct.values()))}
    recommended = [trained[configuration_id(configuration)] for configuration in configurations]
    plain = trained[configuration_id(default)]
    rows = [_row("default", [plain])]
    if random_trials:
        random = own_trials.search(pipeline, described.data, strategy="random", trials=random_trials)
        rows.append(_row(f"random search, best of {random_trials}", random))
    rows += [
        _row("first recommendation", recommended[:1]),
        _row(f"best of the {len(recommended)} recommendations", recommended),
    ]
    return answer, rows


def _row(name: str, trials: list[Trial]) -> list[Any]:
    ok = [trial for trial in trials if trial.status == "ok"]
    seconds = sum(trial.duration_s for trial in trials)
    if not ok:
        return [name, "failed", "failed", seconds]
    best = max(ok, key=lambda trial: trial.performance)
    return [name, best.performance, best.test_performance, seconds]
