"""What lies in the inbox: which files and folders are looked at, which are complete, and how a version is recognised.

A file or folder and its sidecar count as one; a change of either is a change of both.
"""

import hashlib
import os
import time
from pathlib import Path

from metaflow_hpo.adapters.versioning import file_md5
from metaflow_hpo.modalities.registry import recognise
from metaflow_hpo.modalities.table.files.file_names import INBOX_ENDINGS, SIDECAR_SUFFIX, sidecar_of

SETTLED_S = 5.0
"""A file that was written to in the last seconds may still be growing."""
UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")
"""Endings under which programs write before they rename."""


def list_landed(inbox: Path) -> list[Path]:
    """Return what lies in the inbox to be looked at, sorted by name.

    Left out are hidden files, files being written under a temporary ending, sidecars, and folders of no modality.
    """
    if not inbox.is_dir():
        return []
    there = list(inbox.iterdir())
    sidecars = {sidecar_of(path) for path in there if not path.name.lower().endswith(SIDECAR_SUFFIX)}
    return sorted(path for path in there if path not in sidecars and _is_looked_at(path))


def wait_until_settled(inbox: Path) -> tuple[list[Path], list[Path]]:
    """Return the files that nobody writes to any more, and those that are still written to."""
    deadline = time.monotonic() + 2 * SETTLED_S
    while True:
        landed = list_landed(inbox)
        growing = [path for path in landed if not is_settled(path)]
        if not growing or time.monotonic() >= deadline:
            return [path for path in landed if path not in growing], growing
        time.sleep(0.2)


def is_settled(path: Path) -> bool:
    """Tell whether file and sidecar were last written some seconds ago, or come from a clock that is ahead."""
    return all(abs(time.time() - stat.st_mtime) >= SETTLED_S for stat in _stats(path))


def mark_settled(path: Path) -> None:
    """Date a file back: it is complete once it has its name, so nobody needs to wait for it to settle."""
    then = time.time() - 2 * SETTLED_S
    os.utime(path, (then, then))


def stamp_of(path: Path) -> str:
    """Return sizes and modification times of a file, or of all files of a folder, and of the sidecar.

    They cost nothing to read; those of a folder are one digest.
    """
    stamps = [f"{stat.st_size}:{stat.st_mtime_ns}" for stat in _stats(path)]
    if not _is_folder(path):
        return " ".join(stamps)
    names = [str(one.relative_to(path.parent)) for one in _with_sidecar(path)]
    return hashlib.sha256("\n".join([*names, *stamps]).encode()).hexdigest()


def md5_of(path: Path) -> str:
    """Return the md5 of the bytes of file and sidecar; of a folder, one of the names and md5s of all files."""
    md5s = [file_md5(one) for one in _with_sidecar(path) if one.is_file()]
    if not _is_folder(path):
        return " ".join(md5s)
    names = [str(one.relative_to(path.parent)) for one in _with_sidecar(path)]
    return hashlib.md5("\n".join([*names, *md5s]).encode(), usedforsecurity=False).hexdigest()


def list_files(path: Path) -> list[Path]:
    """Return a file, or what lies in a folder at any depth, folders left out, sorted."""
    if not _is_folder(path):
        return [path]
    return sorted(one for one in path.rglob("*") if one.is_symlink() or not one.is_dir())


def _stats(path: Path) -> list[os.stat_result]:
    return [one.lstat() for one in _with_sidecar(path) if os.path.lexists(one)]


def _with_sidecar(path: Path) -> list[Path]:
    return list(dict.fromkeys([*list_files(path), sidecar_of(path)]))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_looked_at(path: Path) -> bool:
    name = path.name.lower()
    if name.startswith(".") or name.endswith(UNFINISHED):
        return False
    if name.endswith(SIDECAR_SUFFIX):
        # A description that is a task by itself; a sidecar waits for its file.
        return path.is_file() and not path.is_symlink() and bool(recognise(path))
    return not path.is_dir() or path.is_symlink() or name.endswith(INBOX_ENDINGS) or bool(recognise(path))
