"""What lies in the inbox came from anywhere: what it is, is looked at before a byte of its content is read."""

import os
import stat
from pathlib import Path

from metaflow_hpo.adapters.landed import list_files
from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import read_hints
from metaflow_hpo.modalities.registry import recognise
from metaflow_hpo.modalities.table.files.file_names import (
    PARQUET,
    SHOWN_ENDINGS,
    SIDECAR_SUFFIX,
    ending_of,
    sidecar_of,
)
from metaflow_hpo.modalities.table.files.unpacking import MAX_UNPACKED_BYTES

MAX_FILE_BYTES = MAX_UNPACKED_BYTES
MAX_CELLS = 200_000_000
"""Rows times columns of a parquet file: one kilobyte of parquet can announce billions of them."""


def check_landed(path: Path, inbox: Path) -> None:
    """Check what a file or folder of the inbox is, before its content is read.

    Raises:
        InvalidTaskError: It, or its sidecar, is no regular file directly in `inbox`, or holds something else than
            regular files (a link is never followed), cannot be read, is of no modality, has an unusable name, is too
            large, unpacked or not, or names a folder outside `inbox` as that of its files.
    """
    if path.parent.resolve() != inbox.resolve():
        raise InvalidTaskError(f"Expected a file directly in {inbox}; got {path}. Copy it there.")
    if not path.name.isprintable():
        raise InvalidTaskError(f"Expected a printable file name; found {path.name!r}. Rename the file.")
    is_known = path.is_symlink() or bool(recognise(path))
    files = list_files(path) if is_known else [path]
    for one in (*files, sidecar_of(path)):
        if os.path.lexists(one):
            _check_regular(one)
    ending = ending_of(path)
    if not is_known:
        raise InvalidTaskError(
            f"Expected a file ending in {SHOWN_ENDINGS}; found {path.name}, which was not opened. "
            f"Unpack it or save it as csv or parquet; a sidecar ends in {SIDECAR_SUFFIX}."
        )
    size = sum(one.stat().st_size for one in files)
    if size > MAX_FILE_BYTES:
        raise InvalidTaskError(
            f"Expected at most {MAX_FILE_BYTES} bytes; {path.name} has {size}. Take a sample of its rows."
        )
    if ending in PARQUET:
        _check_unpacked_size(path)
    _check_root(path)


def _check_regular(path: Path) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        raise InvalidTaskError(
            f"Expected a file; {path.name} is a symbolic link, which is never followed. Copy the file itself."
        )
    if not stat.S_ISREG(mode):
        raise InvalidTaskError(f"Expected a regular file; {path.name} is a {_kind_of(mode)}. Copy a table instead.")
    if not os.access(path, os.R_OK):
        raise InvalidTaskError(f"Expected a readable file; {path.name} is not. Give read permission and copy it again.")


def _check_root(path: Path) -> None:
    """Refuse a sidecar that has a table list files from elsewhere: whoever lands a table may not read those."""
    root = read_hints(path).options.get("root")
    if root is None:
        return
    folder = (path.parent / Path(str(root)).expanduser()).resolve()
    if not folder.is_relative_to(path.parent.resolve()):
        raise InvalidTaskError(
            f"Expected the root of {path.name} to be a folder of the inbox; its sidecar names {root!r}. Land the files "
            "with their table, in one folder or zip, and leave root out."
        )


def _kind_of(mode: int) -> str:
    return "folder" if stat.S_ISDIR(mode) else "device, pipe or socket"


def _check_unpacked_size(path: Path) -> None:
    """Refuse a parquet file by what its footer announces; one without a footer is left to the reader's message."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        footer = parquet.read_metadata(path)
    except (pa.ArrowException, OSError):
        return
    cells = footer.num_rows * footer.num_columns
    unpacked = sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))
    if cells > MAX_CELLS or unpacked > MAX_FILE_BYTES:
        raise InvalidTaskError(
            f"Expected at most {MAX_CELLS} cells and {MAX_FILE_BYTES} bytes unpacked; {path.name} announces "
            f"{footer.num_rows} rows of {footer.num_columns} columns ({unpacked} bytes). Take a sample of its rows."
        )
