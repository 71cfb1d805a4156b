"""What people log beside hyperparameters (constants, seeds, paths, ids, timestamps), told by name and by values."""

import re
from collections.abc import Sequence
from typing import Any

_SEED = re.compile(r"(.*[_./\- ])?(random_?)?(seed|random_state|rng)", re.IGNORECASE)
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
    if _SEED.fullmatch(name):
        return "a seed"
    if has_range:
        return None
    if not values:
        return "no value"
    distinct = {repr(value) for value in values}
    if len(distinct) == 1:
        return f"constant: {values[0]!r}"
    texts = [value for value in values if isinstance(value, str)]
    if _PATH_NAME.fullmatch(name) or (texts and all(_PATH.fullmatch(text) for text in texts)):
        return "a path"
    if _TIME.fullmatch(name) or (texts and all(_MOMENT.fullmatch(text) for text in texts)):
        return "a timestamp"
    if _ID.fullmatch(name) or (texts and all(_HASH.fullmatch(text) for text in texts)):
        return "an id"
    if len(texts) == len(values) == len(distinct) and len(distinct) >= _MANY and len(values) == trials:
        return "an id: a text of its own in every trial"
    return None
