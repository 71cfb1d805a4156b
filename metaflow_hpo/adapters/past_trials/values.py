"""Values as tools write them (nested, as text, with a unit of time) turned into plain ones."""

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.past_trials.source import Status
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.tables import PADDED
from metaflow_hpo.trial_rows import KNOWN_STATUSES

UNFINISHED = frozenset(
    ("running", "waiting", "scheduled", "pending", "paused", "queued", "idle", "candidate", "staged", "planned", "new")
)
"""States of trials that have no outcome yet."""
NESTED = "/"
"""Joins the names of nested hyperparameters: `{"model": {"width": 8}}` is `model/width`."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PARTS = re.compile(
    r"(?:PT?)?(?:(\d+)d)?T?\s*(?:(\d+)h)?\s*(?:(\d+)m(?:in)?)?\s*(?:(\d+(?:\.\d+)?)s(?:ec)?)?", re.IGNORECASE
)
_CLOCK = re.compile(r"(?:(\d+) days? )?\+?(\d+):(\d{2}):(\d{2}(?:\.\d+)?)")
_WORDS: Mapping[str, Any] = {"None": None, "null": None, "True": True, "true": True, "False": False, "false": False}


def flatten(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested values under one name each: `{"a": {"x": 1}}` becomes `{"a/x": 1}`; lists become text."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{above}{name}{NESTED}"))
        else:
            flat[f"{above}{name}"] = plain(value)
    return flat


def plain(value: Any) -> Any:
    """Return a number, text, truth value or None; a list, tuple or empty mapping becomes its JSON text."""
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, Sequence | Mapping) and not isinstance(value, str | bytes):
        return json.dumps(value, default=str)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def from_text(text: Any) -> Any:
    """Return what a text stands for: `'0.001'` a number, `'True'` a truth value, `'None'` None, else the text.

    A whole number with zeros before it stays text: `'01'` is another name than `'1'`.
    """
    if not isinstance(text, str):
        return plain(text)
    stripped = text.strip()
    if stripped in _WORDS:
        return _WORDS[stripped]
    if _NUMBER.fullmatch(stripped) and not PADDED.fullmatch(stripped):
        return int(stripped) if re.fullmatch(r"[+-]?\d{1,15}", stripped) else float(stripped)
    if stripped[:1] in "[({" and stripped[-1:] in "])}":
        try:
            return plain(ast.literal_eval(stripped))
        except (ValueError, SyntaxError):
            return stripped
    return stripped


def to_number(value: Any) -> float | None:
    """Return a value as a float, NaN and infinities included; None where it is none."""
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def is_finite(value: float | None) -> bool:
    """Tell whether there is a value and it is finite."""
    return value is not None and math.isfinite(value)


def to_seconds(value: Any) -> float | None:
    """Return seconds of a number, of `0 days 00:00:00.026`, `00:01:30`, `1m 30s`, `PT90S`, or of a time difference."""
    if isinstance(value, pd.Timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        match = _CLOCK.fullmatch(value.strip())
        match = match or _PARTS.fullmatch(value.strip())
        if match and any(match.groups()):
            days, hours, minutes, seconds = match.groups()
            return int(days or 0) * 86_400 + int(hours or 0) * 3_600 + int(minutes or 0) * 60 + float(seconds or 0)
    number = to_number(value)
    return number if number is not None and is_finite(number) and number >= 0 else None


def to_status(word: Any) -> Status | None:
    """Return what became of a trial by another tool's word; None where it is not finished.

    Raises:
        InvalidTableError: If the word is not known: a trial must not fail silently because of it.
    """
    lower = str(word).strip().lower().rpartition(".")[2]
    if lower in KNOWN_STATUSES:
        return KNOWN_STATUSES[lower]
    if lower in UNFINISHED:
        return None
    raise InvalidTableError(
        f"Unknown status {word!r}; expected one of {', '.join(sorted(KNOWN_STATUSES))}, or of unfinished trials "
        f"{', '.join(sorted(UNFINISHED))}. Rename it in the table."
    )


def pick(points: Iterable[tuple[float, float]], at: str, direction: str) -> tuple[float | None, tuple[float, ...]]:
    """Return the value of a metric that counts, and its curve.

    Args:
        points: (step, value); a repeated step counts with its latest value, as tools show it.
        at: `last`, `best`, or a step.
        direction: `max` or `min`, for the best.

    Returns:
        The value, NaN where the last one is, None where there is none; and the finite values in order of steps.

    Raises:
        InvalidTableError: If `at` is neither a word nor a whole number.
    """
    by_step = dict(points)
    ordered = [by_step[step] for step in sorted(by_step)]
    curve = tuple(value for value in ordered if math.isfinite(value))
    if at == "last":
        return (ordered[-1] if ordered else None), curve
    if at == "best":
        return ((max if direction == "max" else min)(curve, default=None) if curve else _nan_or_none(ordered)), curve
    if not at.isdigit():
        raise InvalidTableError(f"Expected --at last, best or a step; got {at!r}.")
    return by_step.get(float(at)), curve


def _nan_or_none(values: Sequence[float]) -> float | None:
    return math.nan if values else None
