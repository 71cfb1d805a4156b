"""Which column of a table holds the texts, which their classes, and which says what belongs together."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.api import types

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.items.path_tables import USUAL_GROUPS, USUAL_SPLITS, find_split
from metaflow_hpo.modalities.items.side_names import side_of
from metaflow_hpo.modalities.table.free_text import find_free_text, has_words
from metaflow_hpo.modalities.table.preparation import check_columns
from metaflow_hpo.modalities.table.reading import USUAL_TARGETS

USUAL_TEXTS = ("text", "sentence", "review", "document", "content", "message", "tweet", "comment", "body", "utterance")
GROUPS = (*USUAL_GROUPS, "groups", "author", "user", "doc", "thread", "conversation")
"""What columns are called that say which texts belong together, alone or with `_id`."""
TASK = "task"
"""The column by which a table holds several tasks."""
MAX_CLASSES = 100
_NUMBERING = re.compile(r"(?i:unnamed: ?\d+|index|idx|id|ids|no|nr|row|rownames?|row_?id|.*_id|)|.*[a-z]I[dD]")
_PATH = re.compile(r"\S*[/\\]\S*|\S+\.\w{2,4}")
_LOOKED_AT = 500
_MIN_DIFFERENT_WORDS = 0.9
"""Share of single words that are different, where they are the texts."""


@dataclass(frozen=True)
class TextColumns:
    """The roles of the columns of a table.

    Attributes:
        texts: The columns of the texts, which are joined; mostly one.
        target: The classes.
        group: What belongs together; empty where there is no such column.
        split: Which texts are for the test; empty where there is no such column.
        others: All that is not used.
    """

    texts: tuple[str, ...]
    target: str
    group: str
    split: str
    others: tuple[str, ...]


def is_table_of_texts(frame: pd.DataFrame) -> bool:
    """Tell whether a table is one column of texts, one of classes, and otherwise ids, numbers of rows and groups."""
    frame = frame.set_axis([str(name).strip() for name in frame.columns], axis="columns")
    texts = _find_texts(frame, drop=()) if frame.columns.is_unique else []
    if len(texts) != 1:
        return False
    rest = [name for name in frame.columns if name != texts[0] and not _is_beside(frame[name])]
    return len(rest) == 1 and _is_class_like(frame[rest[0]])


def lacks_names(frame: pd.DataFrame) -> bool:
    """Tell whether what stands above the columns is a row: what is above classes is one of them, and no usual name."""
    names = [str(name).strip() for name in frame.columns]
    if len(set(names)) < len(names) or {name.lower() for name in names} & {*USUAL_TEXTS, *USUAL_TARGETS, *GROUPS}:
        return False
    return any(
        _is_class_like(frame[column]) and (frame[column].astype(str).str.strip() == name).any()
        for column, name in zip(frame.columns, names, strict=True)
    )


def choose_columns(
    frame: pd.DataFrame, target: str | None, options: Mapping[str, Any], drop: Collection[str]
) -> TextColumns:
    """Return the roles of the columns, as said or as found.

    Args:
        frame: The table, with plain and different names.
        target: The classes, where that was said.
        options: `text` (a column, or several), `group`, `split`.
        drop: Columns not to use.

    Raises:
        InvalidTaskError: If it cannot be told; the message says what to say.
    """
    names = [str(name) for name in frame.columns]
    said = options.get("text", ())
    texts = [str(name).strip() for name in ([said] if isinstance(said, str) else said)]
    check_columns(texts, names, "text")
    check_columns(list(drop), names, "dropped")
    if target is not None:
        check_columns([target], names, "target")
    taken = {*texts, *drop, target or ""}
    group, split = _choose_group(frame, options, taken), _choose_split(frame, options, taken)
    left = [name for name in names if name not in {*taken, group, split}]
    texts = texts or [_only_text(frame[left], drop=() if target else USUAL_TARGETS)]
    left = [name for name in left if name not in texts]
    chosen = target or _only_target(frame[left])
    if chosen in texts:
        raise InvalidTaskError(f"Expected another column than the text {chosen!r} as target. Give --target.")
    others = [name for name in left if name != chosen]
    return TextColumns(tuple(texts), chosen, group, split, (*others, *drop))


def _choose_group(frame: pd.DataFrame, options: Mapping[str, Any], taken: Collection[str]) -> str:
    if "group" in options:
        group = str(options["group"] or "").strip()
        check_columns([group] if group else [], list(frame.columns), "group")
        return group
    found = [name for name in frame.columns if name not in taken and _is_group(frame[name])]
    return found[0] if len(found) == 1 else ""


def _choose_split(frame: pd.DataFrame, options: Mapping[str, Any], taken: Collection[str]) -> str:
    if "split" in options:
        check_columns([str(options["split"]).strip()], list(frame.columns), "split")
        return str(options["split"]).strip()
    return find_split(frame, {name: name for name in frame.columns if name not in taken}, "")


def _only_text(frame: pd.DataFrame, drop: Collection[str]) -> str:
    found = _find_texts(frame, drop)
    if len(found) == 1:
        return found[0]
    usual = [name for name in (found or frame.columns) if name.lower() in USUAL_TEXTS]
    if len(usual) == 1:
        return str(usual[0])
    raise InvalidTaskError(
        f"Expected one column of texts; found {listed(found) or 'none'} among {listed(list(frame.columns), 20)}. "
        "Say which with the option text: `options: {text: <column>}` in the sidecar."
    )


def _find_texts(frame: pd.DataFrame, drop: Collection[str]) -> list[str]:
    """Return the columns of free text; else those of different words, as names are."""
    frame = frame[[name for name in frame.columns if str(name).lower() not in drop]]
    found = find_free_text(frame)
    if found:
        return found
    words = [name for name in frame.columns if has_words(frame[name], 1.0, _MIN_DIFFERENT_WORDS)]
    return [name for name in words if not frame[name].dropna()[:100].str.strip().map(_PATH.fullmatch).any()]


def _only_target(frame: pd.DataFrame) -> str:
    usual = [name for name in frame.columns if name.lower() in USUAL_TARGETS]
    found = usual or [name for name in frame.columns if not _is_beside(frame[name]) and _is_class_like(frame[name])]
    if len(found) == 1:
        return str(found[0])
    raise InvalidTaskError(
        f"Expected to be told which column holds the classes of the texts; found {listed(list(frame.columns), 20)} "
        "beside them. Give --target, or write `target: <column>` into the sidecar."
    )


def _is_beside(column: pd.Series) -> bool:
    """Tell whether a column numbers rows, groups them, names their task, or says nothing."""
    name = str(column.name)
    if name.lower() in USUAL_TARGETS:
        return False
    if name.lower() in USUAL_SPLITS:
        return all(side_of(str(value)) for value in column.dropna()[:_LOOKED_AT])
    return name.lower() == TASK or _is_group(column) or _NUMBERING.fullmatch(name) is not None


def _is_group(column: pd.Series) -> bool:
    name = str(column.name).lower()
    return name.removesuffix("_id").removesuffix("id").rstrip("_ ") in GROUPS and not types.is_float_dtype(column.dtype)


def _is_class_like(column: pd.Series) -> bool:
    """Tell whether values may be classes: few, and no numbers with a fraction."""
    values = column.dropna()
    if types.is_float_dtype(values.dtype) and not (values == values.round()).all():
        return False
    try:
        different = values.nunique()
    except TypeError:  # lists and the like
        return False
    return 0 < different <= MAX_CLASSES and (different <= max(len(values) // 2, 2))
