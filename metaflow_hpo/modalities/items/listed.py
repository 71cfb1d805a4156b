"""Files of items as they were found, with what is said of each; their content is read later, one at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.hints import Hints

MAX_BROKEN = 0.01
"""Share of the files that may be unreadable: these are left out and said; more are an error."""
_MIN_FOR_ONE = 20
"""Files among which one unreadable one may be left out, too."""
THREADS = 4

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class ItemFile:
    """A file that is one item.

    Attributes:
        name: Its path below the source, for messages.
        read: Returns its content.
    """

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Listed:
    """The items of a source.

    Attributes:
        files: `n` of them.
        labels: `(n,)` their classes; None where there is none.
        groups: `(n,)` what must stay on one side of a split; None where nothing says so.
        held: `(n,)` True on those to hold out for the test; None where nothing says so.
        notes: What was taken for what, and what was left out.
        target: Name of the column with the classes; empty where there is none.
    """

    files: tuple[ItemFile, ...]
    labels: tuple[str | None, ...]
    groups: tuple[object, ...] | None = None
    held: tuple[bool, ...] | None = None
    notes: tuple[str, ...] = ()
    target: str = ""

    def take(self, positions: Sequence[int], *notes: str) -> "Listed":
        """Return some of the items, and say more."""
        return replace(
            self,
            files=tuple(self.files[p] for p in positions),
            labels=tuple(self.labels[p] for p in positions),
            groups=None if self.groups is None else tuple(self.groups[p] for p in positions),
            held=None if self.held is None else tuple(self.held[p] for p in positions),
            notes=(*self.notes, *notes),
        )

    def tell(self, hints: Hints) -> Hints:
        """Return the hints with what was found: the column of the classes, and which items are held out."""
        test_rows = None if self.held is None else tuple(np.flatnonzero(self.held).tolist())
        return hints.model_copy(update={"target": hints.target or self.target or None, "test_rows": test_rows})


def read_files(
    found: Listed, decode: Callable[[ItemFile], _Read], *, threads: int = THREADS
) -> tuple[list[_Read], Listed]:
    """Decode all files, several at a time, and leave out the few that cannot be.

    Args:
        found: The items.
        decode: Returns what a file holds; raises `InvalidTaskError`, with the file's name, where it cannot.
        threads: How many decode side by side: libraries for pictures and sound leave the interpreter meanwhile.

    Returns:
        What was decoded, and the items that these are.

    Raises:
        InvalidTaskError: If more than 1 % of the files (one of 20 to 199) cannot be decoded.
    """

    def attempt(file: ItemFile) -> _Read | InvalidTaskError:
        try:
            return decode(file)
        except InvalidTaskError as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(attempt, found.files))
    broken = [p for p, result in enumerate(results) if isinstance(result, InvalidTaskError)]
    if not broken:
        return [result for result in results if not isinstance(result, InvalidTaskError)], found
    allowed = max(int(MAX_BROKEN * len(results)), int(len(results) >= _MIN_FOR_ONE))
    if len(broken) > allowed:
        raise InvalidTaskError(
            f"{results[broken[0]]} Of {len(results)} files {len(broken)} cannot be read "
            f"({listed([found.files[p].name for p in broken])}); mend or remove them: at most {allowed} would be left "
            "out."
        )
    reasons = " ".join(str(results[p]) for p in broken[:3])
    note = (
        f"Left out {len(broken)} files that cannot be read ({listed([found.files[p].name for p in broken])}): {reasons}"
    )
    kept = [p for p, result in enumerate(results) if not isinstance(result, InvalidTaskError)]
    return [result for result in results if not isinstance(result, InvalidTaskError)], found.take(kept, note)
