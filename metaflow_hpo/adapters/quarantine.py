"""Files of the inbox that are no tasks: moved to `data/quarantine/`, each with `<file name>.reason.txt` beside it.

The data file is moved last but one, by a rename, so that a kill at any moment leaves either a
file that is looked at again, or one that is gone from the inbox together with its reason.
"""

import os
import re
from pathlib import Path

from metaflow_hpo.adapters.clock import now
from metaflow_hpo.adapters.files import write_atomically
from metaflow_hpo.adapters.versioning import file_md5
from metaflow_hpo.modalities.table.files.file_names import (
    INBOX_ENDINGS,
    SIDECAR_SUFFIX,
    ending_of,
    sidecar_of,
    stem_of,
)

REASON_SUFFIX = ".reason.txt"
_UNSAFE = re.compile(r"[^\w. -]")
_MAX_NAME = 150


def quarantine(path: Path, folder: Path, reason: str) -> Path:
    """Move a file of the inbox and its sidecar out of the way and say why.

    The same file delivered again replaces the one that is there; another one of the same name gets a number.

    Args:
        path: The file; a link is moved itself, never what it points to.
        folder: The quarantine; created.
        reason: Why and what to do, a sentence or more.

    Returns:
        Where the file is now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = _free_name(path, folder)
    text = f"{path.name}, {now()}\n\n{reason}\n"
    content = text.encode("utf-8", errors="backslashreplace")
    write_atomically(folder / f"{target.name}{REASON_SUFFIX}", lambda temporary: _write(temporary, content))
    sidecar = sidecar_of(path)
    if _is_plain(sidecar):
        write_atomically(sidecar_of(target), lambda temporary: _write(temporary, sidecar.read_bytes()))
    path.replace(target)
    if _is_removable(sidecar) and not _is_shared(sidecar):
        sidecar.unlink()
    return target


def drop_moved_sidecars(inbox: Path, folder: Path) -> None:
    """Remove sidecars whose data file was moved to quarantine just before a kill; other orphans wait for their file."""
    for sidecar in inbox.glob(f"*{SIDECAR_SUFFIX}"):
        moved = folder / sidecar.name
        if not _is_plain(sidecar) or not _is_plain(moved) or _is_shared(sidecar):
            continue
        # One that came after the copy was made belongs to a new delivery.
        if sidecar.stat().st_ctime <= moved.stat().st_ctime and _is_same(sidecar, moved):
            sidecar.unlink()


def _free_name(path: Path, folder: Path) -> Path:
    name = stem_of(path)
    stem, ending = (_UNSAFE.sub("_", part) for part in (name, path.name[len(name) :]))
    stem = stem.lstrip(".")[:_MAX_NAME] or "unnamed"
    number = 1
    while True:
        target = folder / (f"{stem}{ending}" if number == 1 else f"{stem}-{number}{ending}")
        # The sidecar goes by the stem: a.csv and a.parquet must not share one.
        others = [folder / f"{stem_of(target)}{other}" for other in INBOX_ENDINGS if other != ending.lower()]
        beside = [folder / f"{target.name}{REASON_SUFFIX}", sidecar_of(target)]
        is_free = not any(map(os.path.lexists, [target, *others])) or _is_same(path, target)
        if is_free and not any(one.is_dir() for one in beside):
            return target
        number += 1


def _is_same(one: Path, other: Path) -> bool:
    if not (_is_plain(one) and _is_plain(other)) or one.stat().st_size != other.stat().st_size:
        return False
    return file_md5(one) == file_md5(other)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _is_removable(path: Path) -> bool:
    """Tell whether something of this name is there that is no folder: a folder is not ours to delete."""
    return os.path.lexists(path) and (path.is_symlink() or not path.is_dir())


def _is_shared(sidecar: Path) -> bool:
    """Tell whether a data file in the same folder goes by this sidecar."""
    return any(ending_of(other) in INBOX_ENDINGS and sidecar_of(other) == sidecar for other in sidecar.parent.iterdir())


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
