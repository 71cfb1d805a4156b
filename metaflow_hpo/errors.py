"""Errors a caller can act on. The one thing to know: a failed *trial* is data and never raises; a failed program does.

Every message says what was expected, what was found and what to do next; the CLI prints it without a traceback.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any

_CONTROLS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of characters that are not seen but do something; half of a pair cannot even be written."""


class MetaflowHPOError(Exception):
    """Base of every error this package raises on purpose; the CLI turns it into exit code 1."""


class InvalidTableError(MetaflowHPOError, ValueError):
    """A table (trials, meta-features, catalogue) misses columns or holds values outside their range."""


class InvalidTaskError(MetaflowHPOError, ValueError):
    """A data set cannot become a task: unreadable file, constant target, too few rows, ..."""


class SearchSpaceMismatchError(MetaflowHPOError, ValueError):
    """A configuration does not belong to the search space it is used with."""


class UnknownTaskError(MetaflowHPOError, KeyError):
    """A `task_id` that the catalogue does not hold."""

    def __str__(self) -> str:
        """Return the message itself: `KeyError` would show its representation, quotes and all."""
        return str(self.args[0]) if self.args else ""


class DegenerateTaskError(MetaflowHPOError, ValueError):
    """A task on which every configuration performs the same, so that nothing can be learned or compared."""


class NoChampionError(MetaflowHPOError, LookupError):
    """No surrogate has been promoted yet, so there is nothing to recommend with."""


def listed(values: Sequence[Any], limit: int = 5) -> str:
    """Return the first `limit` values for a message, and how many more there are."""
    shown = ", ".join(repr(value) for value in values[:limit])
    return shown if len(values) <= limit else f"{shown} and {len(values) - limit} more"


class MissingExtraError(MetaflowHPOError, ImportError):
    """A package is needed that an extra of this one installs."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"Expected the package {package}; it is not installed. Install it: pip install 'metaflow-hpo[{extra}]'"
        )


def show_controls(text: str, kept: str = "") -> str:
    """Return a text with control characters written out: a terminal would obey them, or drop them.

    Args:
        text: Any text.
        kept: Characters that are left, such as line ends in what has several lines.
    """
    if text.isprintable():
        return text
    return "".join(
        repr(one)[1:-1] if one not in kept and unicodedata.category(one) in _CONTROLS else one for one in text
    )
