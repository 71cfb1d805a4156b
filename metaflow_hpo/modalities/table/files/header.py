"""Find the names of the columns among the first rows of a table: people put titles and groups of columns above them."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

MAX_ROWS = 50
"""First rows with content that are looked at."""

Row = Sequence[Any]


class Header(NamedTuple):
    """The row with the names.

    Attributes:
        last: Position of the last row that belongs to the names; the table begins after it.
        names: A name a column; `Unnamed: <position>` where there is none.
        joined: Whether names were put together of two rows.
    """

    last: int
    names: tuple[str, ...]
    joined: bool = False


def find_header(rows: Sequence[Row], width: int, expected: Collection[str] = ()) -> Header:
    """Find the names of the columns.

    They stand in the first row, unless that is a title: then in the first row that holds what is expected, or that
    fills the width of the table with different texts. Groups of columns above names that repeat are put before them.

    Args:
        rows: The first rows that are not empty; empty cells are None or blank.
        width: Columns of the table.
        expected: Names that must be among them.
    """
    used = {column for row in rows for column, cell in enumerate(row[:width]) if not is_empty(cell)}
    if _names_all(rows[0], expected) or not _is_title(rows[0], width, used):
        return _with_groups(rows, width, used) or Header(0, name_columns(rows[0], width))
    for position, row in enumerate(rows[1:], start=1):
        if _names_all(row, expected) or (not expected and _fills(row, used)):
            return _below_a_title(rows, position, width)
    full = next((position for position, row in enumerate(rows) if _fills(row, used)), 0)
    return _below_a_title(rows, full, width)


def name_columns(row: Row, width: int) -> tuple[str, ...]:
    """Return the names in a row, `Unnamed: <position>` for those without."""
    cells = [*row, *[None] * (width - len(row))]
    return tuple(f"Unnamed: {i}" if is_empty(cell) else str(cell).strip() for i, cell in enumerate(cells))


def is_empty(cell: object) -> bool:
    """Tell whether a cell holds nothing."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def is_number(cell: object) -> bool:
    """Tell whether a cell holds a number or a date, or the text of a number."""
    if not isinstance(cell, str):
        return cell is not None
    try:
        float(cell.strip().replace(",", "."))
    except ValueError:
        return False
    return True


def _names_all(row: Row, expected: Collection[str]) -> bool:
    return bool(expected) and set(expected) <= {str(cell).strip() for cell in row}


def _fills(row: Row, used: Collection[int]) -> bool:
    """Tell whether a row has a different text in every used column; the first may be an index without a name."""
    cells = [row[column] if column < len(row) else None for column in sorted(used)]
    names = [str(cell).strip() for cell in cells if not is_empty(cell)]
    is_full = len(names) == len(cells) or (len(names) == len(cells) - 1 and is_empty(cells[0]))
    return is_full and len(set(names)) == len(names) and not any(map(is_number, cells if names else ()))


def _is_title(row: Row, width: int, used: Collection[int]) -> bool:
    """Tell whether a row has fewer cells than the table, or hardly any that hold something."""
    filled = [column for column, cell in enumerate(row) if not is_empty(cell)]
    if len(row) < width:
        return True
    return 2 * len(filled) <= len(used) and not (len(used) == 2 and is_empty(row[0]))


def _below_a_title(rows: Sequence[Row], position: int, width: int) -> Header:
    names = name_columns(rows[position], width)
    above = rows[position - 1] if position else ()
    repeats = len(set(names)) < len(names)
    if repeats and sum(not is_empty(cell) for cell in above) > 1:
        return _joined(position, above, rows[position], width)
    return Header(position, names)


def _with_groups(rows: Sequence[Row], width: int, used: Collection[int]) -> Header | None:
    """Return names where the first row has gaps that the second fills with names, as merged cells leave them."""
    if len(rows) < 3:
        return None
    first, second = ([*row, *[None] * (width - len(row))] for row in rows[:2])
    gaps = [column for column in sorted(used) if column and is_empty(first[column])]
    is_named = gaps and not any(is_empty(second[column]) for column in gaps) and not any(map(is_number, second))
    below = [row[column] for row in rows[2:] for column in gaps if column < len(row) and not is_empty(row[column])]
    if not is_named or not any(map(is_number, below)):
        return None
    return Header(1, name_columns(second, width)) if _fills(second, used) else _joined(1, first, second, width)


def _joined(position: int, groups: Row, row: Row, width: int) -> Header:
    return Header(position, _join(groups, row, width), joined=True)


def _join(groups: Row, row: Row, width: int) -> tuple[str, ...]:
    """Put the group of columns before each name: `Size` over `width` and `height` makes `Size width`, `Size height`."""
    names, group = [], ""
    for column in range(width):
        above = groups[column] if column < len(groups) else None
        below = row[column] if column < len(row) else None
        group = group if is_empty(above) else str(above).strip()
        names.append(" ".join(filter(None, [group, "" if is_empty(below) else str(below).strip()])))
    repeated = Counter(names)
    return tuple(name if name and repeated[name] == 1 else f"{name or 'Unnamed:'} {i}" for i, name in enumerate(names))
