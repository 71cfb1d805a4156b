"""Make a task of items and their labels: order, duplicates, test items and digest, from the content alone."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.grouping import settle_groups
from metaflow_hpo.modalities.items.item_data import DIGEST_BYTES, ItemData, Items
from metaflow_hpo.modalities.items.splits import choose_part, deal
from metaflow_hpo.modalities.table.metrics import METRICS, check_metric
from metaflow_hpo.task import Task

MIN_ITEMS = 20
MIN_CLASS_ITEMS = 3
"""Items of a class of which one can be held out for the test and one for validation; two classes must have as many."""
MAX_CLASSES = 1_000
_TEST_PARTS = 5
"""The test items are one part of as many."""


Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Kept:
    """The items that are used, in canonical order.

    Attributes:
        positions: `(n,)` in the source.
        target: `(n,)` class numbers.
        digests: `(n, 32)`.
        groups: `(n,)` numbers from 0 as they appear, None where each stands alone.
        held: `(n,)` True where a person holds it out; None where no one has said.
        class_names: By number.
        notes: What was changed.
    """

    positions: NDArray[np.intp]
    target: Integers
    digests: NDArray[np.uint8]
    groups: Integers | None
    held: NDArray[np.bool_] | None
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def assemble(
    items: Items,
    labels: Sequence[str | None],
    digests: Sequence[bytes],
    *,
    hints: Hints,
    source: Path,
    modality: str,
    groups: Sequence[object] | None = None,
    notes: Sequence[str] = (),
    columns: int = 0,
    near: Sequence[int] | NDArray[np.int64] | None = None,
    read_from: Mapping[str, Any] | None = None,
) -> ItemData:
    """Make a task of items.

    Exact duplicates are dropped: all but one where their labels agree, all where they do not. About 20 % of the items
    are held out for the test, class by class, unless `hints.test_rows` says which.

    Args:
        items: `n` of them.
        labels: `(n,)` names of classes; items without one (None or blank) are dropped.
        digests: `(n,)` SHA-256 of the content of each.
        hints: What was said of the source.
        source: The file or folder, for names.
        modality: What the items are.
        groups: `(n,)` what must stay on one side of a split: a speaker, a document; None, empty or -1 where unknown.
        notes: What reading has inferred or changed.
        columns: As in `Task`.
        near: `(n,)` numbers; items with the same one are nearly alike and stay on one side of a split.
        read_from: As `ItemData.columns`.

    Returns:
        The task, its items in the order of their digests.

    Raises:
        InvalidTaskError: If nothing can be learned from them; the message says what to do.
    """
    _check_hints(hints, len(items), source)
    kept = _keep(labels, digests, hints, source, groups, near)
    is_test, said = _choose_test(kept, source)
    classes = len(kept.class_names)
    kind = "binary" if classes == 2 else "multiclass"
    metric = METRICS[kind][0] if hints.metric is None else Metric.read(hints.metric)
    check_metric(kind, metric)
    if hints.kind not in {None, "classification", kind}:
        raise InvalidTaskError(
            f"Expected a {hints.kind} task in {source.name}; its items have {classes} classes. Ask for {kind}."
        )
    task = Task(
        **hints.describe(source),
        modality=modality,
        metric=metric,
        sha256=digest_items(modality, kept.class_names, kept.digests, kept.target, is_test),
        rows=len(kept.target),
        test_rows=int(is_test.sum()),
        kind=kind,
        target=hints.target or "",
        columns=columns,
        classes=classes,
        notes=(*notes, *kept.notes, *said),
    )
    own = items[kept.positions]
    return ItemData(task, own, kept.target, is_test, kept.class_names, kept.digests, kept.groups, read_from or {})


def digest_of(*parts: bytes) -> bytes:
    """Return the SHA-256 of the content of an item, told from that of others whose parts are cut elsewhere."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _check_hints(hints: Hints, count: int, source: Path) -> None:
    if hints.drop:
        raise InvalidTaskError(
            f"Expected no `drop` for {source.name}: its items have no columns that could be left out. Leave it away."
        )
    if hints.kind == "regression":
        raise InvalidTaskError(f"Expected classes of items to tell apart in {source.name}; a number was asked for.")
    wrong = [row for row in hints.test_rows or () if row >= count]
    if wrong:
        raise InvalidTaskError(f"Expected test_rows below {count}, the items of {source.name}; found {listed(wrong)}.")


def _keep(
    labels: Sequence[str | None],
    digests: Sequence[bytes],
    hints: Hints,
    source: Path,
    groups: Sequence[object] | None,
    near: Sequence[int] | NDArray[np.int64] | None,
) -> _Kept:
    """Drop what cannot be used, name the classes, and put the rest into canonical order."""
    named = np.array(["" if label is None else _plain(str(label)) for label in labels], dtype=object)
    held = None if hints.test_rows is None else np.isin(np.arange(len(named)), hints.test_rows)
    content = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
    same = np.unique(content.view(f"V{DIGEST_BYTES}").ravel(), return_inverse=True)[1].astype(np.int64)
    notes = []
    is_kept = named != ""
    if without := int((~is_kept).sum()):
        notes.append(f"Dropped {without} items without a class.")
    first, differ = _find_duplicates(same, named, is_kept)
    if copies := int((is_kept & ~first & ~differ).sum()):
        notes.append(f"Dropped {copies} exact copies of other items.")
    if count := int((is_kept & differ).sum()):
        notes.append(f"Dropped {count} items whose content occurs with different classes.")
    if held is not None:
        held = np.bincount(same, weights=held)[same] > 0  # what is held out once is not learned from
    chosen = np.flatnonzero(is_kept & first & ~differ)
    positions = chosen[np.argsort(same[chosen], kind="stable")]
    names = sorted(set(named[positions].tolist()), key=_by_number)
    _check_classes(named[positions], names, source)
    target = _code(named[positions], names)
    united, said = settle_groups(same, groups, near, positions, target)
    return _Kept(
        positions,
        target,
        content[positions],
        united,
        None if held is None else held[positions],
        tuple(names),
        (*notes, *said),
    )


def _plain(name: str) -> str:
    """Return a name of a class as it is seen: macOS writes the letters of folders decomposed, others do not."""
    return unicodedata.normalize("NFC", name).strip()


def _code(named: NDArray[np.object_], names: list[str]) -> Integers:
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[name] for name in named], dtype=np.int64)


def _by_number(name: str) -> tuple[bool, float, str]:
    """Return what names are sorted by: 2 before 10, numbers before words."""
    is_number = re.fullmatch(r"[+-]?\d{1,15}(\.\d+)?", name) is not None
    return (not is_number, float(name) if is_number else 0.0, name)


def _find_duplicates(
    same: Integers, named: NDArray[np.object_], is_kept: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which items are the first with their content, and which have content that occurs with several classes."""
    order = np.flatnonzero(is_kept)
    first = np.zeros(len(same), dtype=bool)
    first[order[np.unique(same[order], return_index=True)[1]]] = True
    label = np.unique(named.astype(str), return_inverse=True)[1]
    pairs = np.unique(np.column_stack([same[order], label[order]]), axis=0)
    several = np.bincount(pairs[:, 0], minlength=int(same.max(initial=0)) + 1) > 1
    return first, several[same]


def _check_classes(named: NDArray[np.object_], names: list[str], source: Path) -> None:
    if len(named) < MIN_ITEMS:
        raise InvalidTaskError(
            f"Expected at least {MIN_ITEMS} different items with a class in {source.name}; found {len(named)}. Collect "
            "more: nothing can be tuned on so few."
        )
    if len(names) < 2:
        raise InvalidTaskError(
            f"Expected items of at least 2 classes in {source.name}; all {len(named)} are {names[0]!r}. Add items of "
            "others, or give the folder above."
        )
    if len(names) > MAX_CLASSES or len(names) > len(named) / 2:
        raise InvalidTaskError(
            f"Expected at most {MAX_CLASSES} classes, each with several items, in {source.name}; found {len(names)} "
            f"classes of {len(named)} items ({listed(names)}). Say what to predict, or leave the rare ones out."
        )
    counts = sorted(np.unique(named.astype(str), return_counts=True)[1].tolist())
    if counts[-2] < MIN_CLASS_ITEMS:
        raise InvalidTaskError(
            f"Expected at least {MIN_CLASS_ITEMS} items in each of two classes of {source.name}; only one class has as "
            "many. Collect more of the others."
        )


def _choose_test(kept: _Kept, source: Path) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which items are held out, `(n,)`, and what is to be said of it."""
    if kept.held is not None:
        return _check_test(kept, kept.held, source)
    part = deal(kept.target, kept.groups, _TEST_PARTS, seed=0)
    is_test = part == choose_part(part, _TEST_PARTS)
    counts = np.bincount(kept.target)
    is_test &= counts[kept.target] > 1  # where there is one of a class, it is learned from
    unknown = np.setdiff1d(kept.target, kept.target[~is_test])
    if len(unknown):  # the groups of such classes are learned from instead
        back = np.isin(kept.target, unknown)
        is_test &= ~(back if kept.groups is None else np.isin(kept.groups, kept.groups[back]))
    if not is_test.any() or is_test.all():
        raise InvalidTaskError(
            f"Expected items of {source.name} that can be held out; every group holds items without which a class is "
            "not known. Give more groups, or none, or say which to hold out (test_rows)."
        )
    return is_test, _say_single(kept, counts)


def _say_single(kept: _Kept, counts: NDArray[np.intp]) -> list[str]:
    single = [kept.class_names[label] for label in np.flatnonzero(counts == 1)]
    return [f"Classes with one item are learned from, never tested: {listed(single)}."] if single else []


def _check_test(kept: _Kept, is_test: NDArray[np.bool_], source: Path) -> tuple[NDArray[np.bool_], list[str]]:
    unknown = np.setdiff1d(kept.target[is_test], kept.target[~is_test])
    if not is_test.any() or is_test.all() or len(unknown):
        found = listed([kept.class_names[label] for label in unknown]) or f"{is_test.sum()} of {len(is_test)} held out"
        raise InvalidTaskError(
            f"Expected test_rows of {source.name} that leave items of every class to learn from; found {found}. "
            "Choose other rows, or leave test_rows away."
        )
    if kept.groups is None:
        return is_test, []
    torn = len(np.intersect1d(kept.groups[is_test], kept.groups[~is_test]))
    return is_test, [f"The test items that were given tear {torn} groups apart."] if torn else []


def digest_items(
    modality: str,
    class_names: Sequence[str],
    digests: NDArray[np.uint8],
    target: Integers,
    is_test: NDArray[np.bool_],
) -> str:
    """Return the SHA-256 of the items, their classes and the split, as 64 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps([modality, list(class_names)], ensure_ascii=False).encode())
    digest.update(digests.tobytes())
    digest.update(target.astype("<i8").tobytes())
    digest.update(is_test.tobytes())
    return digest.hexdigest()
