"""A modality outside the package: lines `x y label` in a file `<name>.points`, or in all such files of a folder."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.meta_features import MetaFeature, MetaFeatureGroup
from metaflow_hpo.modalities.modality import Fold, Split, Splits
from metaflow_hpo.modalities.splits import split_into_folds
from metaflow_hpo.task import Task

SUFFIX = ".points"


@dataclass(frozen=True)
class PointsData:
    """Points in the plane with their classes, in an order that their content gives."""

    task: Task
    points: np.ndarray
    labels: np.ndarray
    is_test: np.ndarray


class Points:
    """Points in the plane."""

    name = "points"

    @property
    def meta_features(self):
        return (SHAPE,)

    def recognises(self, source: Path) -> bool:
        return source.suffix == SUFFIX or (source.is_dir() and any(source.glob(f"*{SUFFIX}")))

    def read(self, source: Path, hints: Hints) -> PointsData:
        lines = sorted(line for text in _read_texts(source) for line in text.split("\n") if line.strip())
        try:
            rows = np.array([[float(word) for word in line.split()] for line in lines])
            points, labels = rows[:, :2], rows[:, 2].astype(np.int64)
        except (ValueError, IndexError) as error:
            raise InvalidTaskError(f"Expected lines `x y label` in {source.name}; found: {error}.") from error
        is_test = np.array([hashlib.sha256(line.encode()).digest()[0] < 51 for line in lines])  # one in five
        task = Task(
            **hints.describe(source),
            modality=self.name,
            metric=Metric.read(hints.metric or "accuracy"),
            sha256=hashlib.sha256("\n".join(lines).encode()).hexdigest(),
            rows=len(lines),
            test_rows=int(is_test.sum()),
            kind="multiclass",
            classes=int(labels.max()) + 1,
        )
        return PointsData(task, points, labels, is_test)

    def split(self, data: PointsData, seed: int = 0) -> Splits:
        return split_into_folds(data.labels, data.is_test, regression=False, seed=seed)

    def prepare(self, data: PointsData, split: Split, number: int = 0) -> Fold:
        centre = data.points[split.train].mean(axis=0)
        x = (data.points - centre).astype(np.float32)
        y = data.labels
        return Fold(x[split.train], y[split.train], x[split.valid], y[split.valid], data.task.classes, number=number)

    def save(self, data: PointsData, path: Path) -> None:
        arrays = {name: getattr(data, name).tolist() for name in ("points", "labels", "is_test")}
        path.write_text(json.dumps({"task": data.task.to_dict(), **arrays}, sort_keys=True), encoding="utf-8")

    def load(self, path: Path) -> PointsData:
        kept = json.loads(path.read_text(encoding="utf-8"))
        arrays = (np.array(kept[name]) for name in ("points", "labels", "is_test"))
        return PointsData(Task.from_dict(kept["task"]), *arrays)


def _read_texts(source: Path) -> list[str]:
    files = sorted(source.glob(f"*{SUFFIX}")) if source.is_dir() else [source]
    try:
        return [file.read_text(encoding="utf-8") for file in files]
    except OSError as error:
        raise InvalidTaskError(f"Expected points in {source.name}; found: {error.strerror}.") from error


def measure(data: PointsData) -> dict[str, float]:
    """Describe the training points."""
    points, labels = data.points[~data.is_test], data.labels[~data.is_test]
    centres = np.array([points[labels == label].mean(axis=0) for label in np.unique(labels)])
    nearest = np.argmin(((points[:, None, :] - centres) ** 2).sum(axis=2), axis=1)
    return {
        "log_points": float(np.log10(len(points))),
        "chance": float(np.bincount(labels).max() / len(labels)),
        "nearest_centre": float((np.unique(labels)[nearest] == labels).mean()),
        "spread": float(points.std()),
    }


SHAPE = MetaFeatureGroup(
    name="shape",
    version=1,
    features={
        "log_points": MetaFeature("log10 of the number of training points", "size"),
        "chance": MetaFeature("accuracy of the most frequent class", "chance"),
        "nearest_centre": MetaFeature("accuracy of the nearest centre", "landmark"),
        "spread": MetaFeature("standard deviation of the coordinates"),
    },
    modalities=("points",),
    measure=measure,
)

POINTS = Points()
