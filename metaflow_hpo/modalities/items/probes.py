"""Meta-features that all tasks of items share: size, classes, and what plain learners reach on random features.

References:
    Pfahringer, Bensusan & Giraud-Carrier 2000, Meta-learning by landmarking various learning algorithms, ICML.
    Roy & Vetterli 2007, The effective rank, EUSIPCO.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.metric import KNOWN_METRICS, Metric
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.items.splits import choose_part, deal
from metaflow_hpo.modalities.meta_features import Columns, MetaFeature, MetaFeatureGroup
from metaflow_hpo.task import AUDIO, IMAGE, SERIES, TEXT

COUNTS = (100, 300, 1000)
"""Training items that probes learn from; all there are, where these are fewer."""
SCORED = 300
"""Held-out training items, at most, that probes are scored on."""
_PARTS = 4
_ERRORS = 3.0
"""Standard errors above guessing that the best probe must reach."""
_MIN_FACTOR = 2.0
"""Times as many items from which the slope is measured."""
_RANKED = 300
"""Items, at most, that the effective rank is of."""
_PENALTIES = (1e-3, 1e-1, 10.0)
"""Of ridge regression, times the mean eigenvalue."""

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@runtime_checkable
class Featuring(Protocol):
    """A modality with features that are learned from nothing."""

    def features(self, items: Any) -> NDArray[np.float32]:
        """Return them, `(n, d)`."""


def measure(data: ItemData) -> dict[str, float]:
    """Compute the meta-features of a task of items.

    Args:
        data: The task; its test items are not looked at.

    Returns:
        Finite values by name.
    """
    target = data.train_target
    chosen, scored = _choose(data, target)
    features = _features(data, chosen, scored)
    train, valid = features[: len(chosen)], features[len(chosen) :]
    y_train, y_valid = target[chosen], target[scored]
    described = _describe_classes(data, target)
    for count in COUNTS:
        part = slice(0, count)
        for name, probe in _PROBES.items():
            predicted = probe(train[part], y_train[part], valid)
            described[f"{name}_{count}"] = _balanced_accuracy(y_valid, predicted)
    return {
        **described,
        "slope": _find_slope(described, len(chosen)),
        "purity": _find_purity(train, y_train),
        "log_effective_rank": _find_rank(train[:_RANKED]),
    }


def _choose(data: ItemData, target: Integers) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return positions among the training items: those to learn from, and those to score on.

    Every start of either is alike in classes; no group is on both sides.
    """
    groups = None if data.groups is None else data.groups[~data.is_test]
    part = deal(target, groups, _PARTS, seed=0)
    is_scored = part == choose_part(part, _PARTS)
    if is_scored.all() or not is_scored.any():  # one group holds all
        is_scored = np.arange(len(target)) % _PARTS == 0
    learned, scored = (_take_evenly(np.flatnonzero(side), target) for side in (~is_scored, is_scored))
    return learned[: COUNTS[-1]], scored[:SCORED]


def _take_evenly(positions: NDArray[np.intp], target: Integers) -> NDArray[np.intp]:
    """Return positions in an order of which every start has about the share of each class that all have."""
    labels = target[positions]
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)[labels[order]]
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels))])[labels[order]]
    place = (np.arange(len(order)) - starts + 0.5) / counts
    return positions[order[np.lexsort((labels[order], place))]]


def _features(data: ItemData, chosen: NDArray[np.intp], scored: NDArray[np.intp]) -> Floats:
    """Return standardised features of the items, `(n, d)`; those that say nothing are left out."""
    from metaflow_hpo.modalities.registry import get_modality

    modality = get_modality(data.task.modality)
    if not isinstance(modality, Featuring):
        raise MetaflowHPOError(f"Expected a modality of items, with features; {data.task.modality!r} has none.")
    training = np.flatnonzero(~data.is_test)
    raw = np.asarray(modality.features(data.items[training[np.concatenate([chosen, scored])]]), dtype=np.float32)
    learned = raw[: len(chosen)]
    mean, spread = learned.mean(axis=0), learned.std(axis=0)
    kept = spread > 1e-6
    scaled = (raw[:, kept] - mean[kept]) / spread[kept]
    return np.clip(scaled, -10, 10) if kept.any() else np.zeros((len(raw), 1), dtype=np.float32)


def _ridge(train: Floats, target: Integers, valid: Floats) -> Integers:
    """Return the classes that ridge regression predicts, its penalty chosen by leaving one out."""
    classes, code = np.unique(target, return_inverse=True)
    mean = train.mean(axis=0)
    centred = train - mean
    wanted = np.eye(len(classes), dtype=np.float32)[code]
    middle = wanted.mean(axis=0)
    gram = centred @ centred.T
    best, chosen = -1.0, np.zeros_like(wanted)
    for relative in _PENALTIES:
        penalty = np.float32(relative * max(float(np.trace(gram)) / len(gram), 1e-6))
        inverse = np.linalg.inv(gram + penalty * np.eye(len(gram), dtype=np.float32))
        dual = inverse @ (wanted - middle)
        # What is left of each item when it is not learned from, its share of the mean included.
        kept = np.diag(inverse) - 1.0 / (len(gram) * penalty)
        left_out = wanted - dual / np.maximum(kept, 1e-6 / penalty)[:, None]
        score = float((left_out.argmax(axis=1) == code).mean())
        if score > best:
            best, chosen = score, dual
    return np.asarray(classes[((valid - mean) @ (centred.T @ chosen) + middle).argmax(axis=1)])


def _nearest_centre(train: Floats, target: Integers, valid: Floats) -> Integers:
    classes = np.unique(target)
    centres = np.array([train[target == label].mean(axis=0) for label in classes])
    return np.asarray(classes[_distances(valid, centres).argmin(axis=1)])


def _nearest_neighbour(train: Floats, target: Integers, valid: Floats) -> Integers:
    return np.asarray(target[_distances(valid, train).argmin(axis=1)])


_Probe = Callable[[Floats, Integers, Floats], Integers]
_PROBES: Mapping[str, _Probe] = {"ridge": _ridge, "centroid": _nearest_centre, "neighbour": _nearest_neighbour}


def _distances(one: Floats, other: Floats) -> Floats:
    """Return squared distances `(n, m)`, up to what is the same in a row."""
    return np.asarray((other**2).sum(axis=1) - 2 * one @ other.T)


def _balanced_accuracy(target: Integers, predicted: Integers) -> float:
    counts = np.bincount(target)
    hits = np.bincount(target, weights=predicted == target)
    return float((hits[counts > 0] / counts[counts > 0]).mean())


def _find_slope(described: Mapping[str, float], learned: int) -> float:
    """Return what the best probe gains from ten times as many items; 0 where there are too few to tell."""
    best = [max(described[f"{name}_{count}"] for name in _PROBES) for count in (COUNTS[0], COUNTS[-1])]
    factor = min(learned, COUNTS[-1]) / min(learned, COUNTS[0])
    return (best[1] - best[0]) / math.log10(factor) if factor >= _MIN_FACTOR else 0.0


def _find_purity(train: Floats, target: Integers) -> float:
    """Return the share of items whose nearest other item is of their class."""
    distances = _distances(train, train)
    np.fill_diagonal(distances, np.inf)
    return float((target[distances.argmin(axis=1)] == target).mean())


def _find_rank(train: Floats) -> float:
    """Return log10 of the exponential of the entropy of the eigenvalues' shares."""
    gram = train @ train.T if len(train) < train.shape[1] else train.T @ train
    values = np.maximum(np.linalg.eigvalsh(gram), 0)
    shares = values[values > 0] / max(float(values.sum()), 1e-30)
    return float(-(shares * np.log(shares)).sum() / math.log(10)) if len(shares) else 0.0


def _describe_classes(data: ItemData, target: Integers) -> dict[str, float]:
    counts = np.bincount(target, minlength=data.task.classes)
    shares = counts[counts > 0] / counts.sum()
    groups = len(target) if data.groups is None else len(np.unique(data.groups[~data.is_test]))
    return {
        "log_items": math.log10(len(target)),
        "log_classes": math.log10(data.task.classes),
        "chance": 1.0 / data.task.classes,
        "log_imbalance": float(np.log10(shares.max() / shares.min())),
        "class_entropy": float(-(shares * np.log(shares)).sum() / math.log(data.task.classes)),
        "grouped_share": 1.0 - groups / len(target),
    }


_DESCRIPTIONS = {
    "log_items": MetaFeature("log10 of the number of training items", "size"),
    "log_classes": MetaFeature("log10 of the number of classes", "size"),
    "chance": MetaFeature("balanced accuracy of guessing: one over the number of classes", "chance"),
    "log_imbalance": MetaFeature("log10 of the most frequent class over the rarest"),
    "class_entropy": MetaFeature("entropy of the classes divided by its maximum, in [0, 1]"),
    "grouped_share": MetaFeature(
        "share of training items that could go, were one of each group left; near copies count"
    ),
}
_OF_PROBES = {
    "ridge": "ridge regression",
    "centroid": "the nearest mean of a class",
    "neighbour": "the nearest item",
}
_PLAIN_PROBE = "neighbour"
"""Where items repeat, the nearest one is better than anything that is learned."""


def _describe_probes() -> dict[str, MetaFeature]:
    return {
        f"{name}_{count}": MetaFeature(
            f"balanced accuracy of {text} on random features, from {count} items",
            "plain" if name == _PLAIN_PROBE else "landmark",
        )
        for count in COUNTS
        for name, text in _OF_PROBES.items()
    }


_MORE = {
    "slope": MetaFeature("balanced accuracy that the best probe gains from ten times as many items"),
    "purity": MetaFeature("share of items whose nearest other one, in random features, is of their class"),
    "log_effective_rank": MetaFeature("log10 of the effective rank of the random features of 300 items"),
}


def _count_items_of_class(columns: Columns) -> NDArray[np.float64] | None:
    if not {"log_items", "log_classes"} <= set(columns):
        return None
    return (columns["log_items"] - columns["log_classes"])[:, None]


def _find_nothing(columns: Columns) -> NDArray[np.bool_] | None:
    """Tell whether the best probe may be guessing."""
    scores = [columns[name] for name in _describe_probes() if name in columns]
    if not scores or not {"log_items", "chance"} <= set(columns):
        return None
    scored = np.minimum(10.0 ** columns["log_items"] / _PARTS, SCORED)
    chance = columns["chance"]
    return np.asarray(np.max(scores, axis=0) < chance + _ERRORS * np.sqrt(chance * (1 - chance) / scored))


def _choose_metric(values: Mapping[str, Any]) -> Metric | None:
    return KNOWN_METRICS["balanced_accuracy"] if math.isfinite(values.get("chance", math.nan)) else None


ITEM_GROUP = MetaFeatureGroup(
    name="items",
    version=1,
    features=_DESCRIPTIONS | _describe_probes() | _MORE,
    modalities=(IMAGE, AUDIO, TEXT, SERIES),
    measure=measure,
    more_sizes=_count_items_of_class,
    finds_nothing=_find_nothing,
    metric=_choose_metric,
)
"""What describes every task of items, whatever they are."""
