"""What people log beside hyperparameters (constants, seeds, paths, ids, timestamps), told by name and by values."""

import re
from collections.abc import Sequence
from typing import Any

_SEED = re.compile(r"(.*[_./\- ])?(random_?)?(seed|random_state|rng)", re.IGNORECASE)
_FOLD = re.compile(
    r"(.*[_./\- ])?((cv_?)?(fold|split)(_?(id|idx|index|nr|no))?|repeat|repetition|replicate|rep)", re.IGNORECASE
)
_ID = re.compile(r"(.*[_./\- ])?(id|uuid|guid|hash|sha|commit|run_name|run_id|hostname|host|user|pid)", re.IGNORECASE)
_TIME = re.compile(
    r"(.*[_./\- ])?(timestamp|datetime|date|created|(created|started|updated)_at|(start|end|wall)_?time)", re.IGNORECASE
)
_PATH_NAME = re.compile(r"(.*[_./\- ])?(path|dir|directory|folder|file|filename|uri|url|logdir)", re.IGNORECASE)
_PATH = re.compile(r"(~?/|\.{1,2}/|[A-Za-z]:\\|[a-z][a-z0-9+]*://).*")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}([T _]\d{2}[:\-]\d{2}.*)?")
_MEASURED = re.compile(
    r"((train(ing)?|val(id(ation)?)?|test|dev|eval(uation)?|metrics?|best|final|mean|std)[_/. \-])*"
    r"(balanced_)?(acc(uracy)?|loss|nll|mse|rmse|mae|mape|r2|f1|auc|auroc|score|error|err|precision|recall|perplexity|"
    r"bleu|rouge\w*|reward|map|iou|dice|logloss|log_loss)([_/.@ \-]?(macro|micro|weighted|top)?\d*)",
    re.IGNORECASE,
)
_HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")
_MANY = 5
"""Different texts from which a column that names each trial by itself is an id."""


def is_measured(name: str) -> bool:
    """Tell whether a name is one of what is measured of a trial, such as `val_loss` or `test/accuracy`."""
    return _MEASURED.fullmatch(name) is not None


def why_not(name: str, values: Sequence[Any], trials: int, *, has_range: bool) -> str | None:
    """Return why a name that was logged is no hyperparameter; None where it may be one.

    Args:
        name: As it was logged.
        values: Its values in the trials that have one.
        trials: All trials.
        has_range: The tool knows a range for it, so that it was searched however few values were tried.
    """
    distinct = {repr(value) for value in values}
    texts = [value for value in values if isinstance(value, str)]
    has_own_text = len(texts) == len(values) == len(distinct) == trials and trials >= _MANY
    reasons = (
        ("a seed", _SEED.fullmatch(name)),
        ("a fold or repetition", not has_range and _FOLD.fullmatch(name)),
        (None, has_range),
        (f"constant: {values[0]!r}" if values else "no value", len(distinct) < 2),
        ("a path", _PATH_NAME.fullmatch(name) or _all_are(_PATH, texts)),
        ("a timestamp", _TIME.fullmatch(name) or _all_are(_MOMENT, texts)),
        ("an id", _ID.fullmatch(name) or _all_are(_HASH, texts)),
        ("an id: a text of its own in every trial", has_own_text),
    )
    return next((reason for reason, holds in reasons if holds), None)


def _all_are(pattern: re.Pattern[str], texts: Sequence[str]) -> bool:
    return bool(texts) and all(map(pattern.fullmatch, texts))
