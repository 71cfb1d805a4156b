"""Folders of experiments: one is a task, and a folder that holds several holds several tasks."""

import json
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from metaflow_hpo.adapters.past_trials.source import Wanted, existing
from metaflow_hpo.errors import InvalidTableError

EXPERIMENT = "experiment"
"""Label with the name of an experiment's folder."""


def find_experiments(address: Any, is_one: Callable[[Path], bool], what: str, wanted: Wanted) -> dict[str, Path]:
    """Return the experiments at an address by name, sorted: itself, or the folders in it, one or two levels down.

    Args:
        address: Folder.
        is_one: Tells the folder of an experiment.
        what: What belongs there, for the message.
        wanted: `only` is a glob of their names.

    Raises:
        InvalidTableError: If there is none.
    """
    folder = existing(address, what)
    candidates = [folder, *sorted(folder.glob("*/")), *sorted(folder.glob("*/*/"))] if folder.is_dir() else [folder]
    found = {path.resolve().name: path for path in candidates if is_one(path)}
    chosen = {name: path for name, path in found.items() if wanted.only is None or fnmatchcase(name, wanted.only)}
    if not chosen:
        beside = f"; found {sorted(found)}" if found else ""
        raise InvalidTableError(f"Expected {what} at {folder}; there is none{beside}. Check the address.")
    return chosen


def read_json_file(path: Path) -> Any:
    """Return the content of a tool's JSON file.

    Raises:
        InvalidTableError: If it is not whole.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InvalidTableError(f"Expected JSON in {path}; found: {error}. Copy it again.") from error


def read_json_lines(path: Path) -> list[Any]:
    """Return the records of a file with one JSON value a line; a last line that a kill cut short is left out.

    Raises:
        InvalidTableError: If another line is damaged.
    """
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise InvalidTableError(
                f"Expected JSON on line {number} of {path}; found: {error}. Copy it again."
            ) from error
    return records
