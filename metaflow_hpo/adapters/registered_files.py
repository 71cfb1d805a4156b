"""The files of a registered version: which they were when it was registered, and whether a copy still is that."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from metaflow_hpo.adapters.versioning import find_changed, list_md5s
from metaflow_hpo.errors import MetaflowHPOError

FILES_TAG = "files.md5"
"""Tag of a version with the md5 of each of its files, as JSON."""


def tag_files(folder: Path) -> dict[str, str]:
    """Return the tag with which a version keeps the md5 of its files."""
    return {FILES_TAG: json.dumps(list_md5s(folder))}


def list_changed(folder: Path, tags: Mapping[str, str]) -> list[str]:
    """Return which files of a version are missing in a folder or others; none where an older program registered it."""
    return find_changed(folder, json.loads(tags.get(FILES_TAG, "{}")))


def check_fetched(folder: Path, tags: Mapping[str, str], what: str, remedy: str) -> None:
    """Check what was fetched from the registry, and delete it where it is not what was registered.

    Raises:
        MetaflowHPOError: If a file is missing or another one.
    """
    changed = list_changed(folder, tags)
    if changed:
        discard(folder)
        raise MetaflowHPOError(
            f"Expected the files of {what} as they were registered; {', '.join(changed)} was damaged or changed in the "
            f"registry. Put a copy of its artifacts back. {remedy}"
        )


def discard(folder: Path) -> None:
    """Delete a folder of the cache, which another process may be deleting too."""
    shutil.rmtree(folder, ignore_errors=True)


def writable(cache: Path) -> Path:
    """Return the cache, or a folder for this process where the data folder cannot be written to."""
    there = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    return cache if os.access(there, os.W_OK) else Path(_temporary_cache().name)


@lru_cache(maxsize=1)
def _temporary_cache() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="metaflow_hpo_")
