"""Some texts of a task, for people to look at."""

import html
import re

import numpy as np

from metaflow_hpo.modalities.items.item_data import ItemData

MAX_CLASSES = 10
OF_CLASS = 3
MAX_CHARACTERS = 200
_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~-])")


def show_texts(data: ItemData) -> str:
    """Return some training texts of each class as Markdown in which nothing of them has a meaning."""
    lines = []
    for number, name in enumerate(data.class_names[:MAX_CLASSES]):
        lines.append(f"**{_escape(name)}**\n")
        chosen = np.flatnonzero((data.target == number) & ~data.is_test)[:OF_CLASS]
        lines += [f"- {_escape(text) or '(empty)'}" for text in data.items[chosen].tolist()]
        lines.append("")
    left = len(data.class_names) - MAX_CLASSES
    return "\n".join([*lines, *([f"and {left} more classes"] if left > 0 else [])])


def _escape(text: str) -> str:
    squeezed = " ".join(text.split())
    shown = squeezed if len(squeezed) <= MAX_CHARACTERS else f"{squeezed[:MAX_CHARACTERS]} ..."
    return _MARKS.sub(r"\\\1", html.escape(shown, quote=False))
