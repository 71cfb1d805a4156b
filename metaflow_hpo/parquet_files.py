"""Parquet files that carry their own md5: a damaged byte anywhere is noticed, not only in the pages of the data."""

import hashlib
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from metaflow_hpo.errors import InvalidTableError

if TYPE_CHECKING:
    import pyarrow as pa

_MD5_KEY = b"metaflow_hpo.file_md5"
"""Name of a file's own md5 in its footer; the md5 is that of the file with zeros in its place."""
_NO_MD5 = b"0" * 32


def write_sealed_parquet(path: Path, table: "pa.Table") -> None:
    """Write a table as parquet that carries its own md5, see `check_parquet`; not atomic."""
    from pyarrow import parquet

    with parquet.ParquetWriter(path, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_MD5_KEY.decode(): _NO_MD5.decode()})
    with _bytes_of(path, mmap.ACCESS_WRITE) as content:
        start = content.rfind(_MD5_KEY) + len(_MD5_KEY) + 2
        content[start : start + len(_NO_MD5)] = hashlib.md5(content, usedforsecurity=False).hexdigest().encode()


def check_parquet(path: Path, remedy: str) -> None:
    """Compare a parquet file with the md5 that it carries; one that carries none is passed.

    Raises:
        InvalidTableError: If it is damaged.
    """
    if path.stat().st_size == 0:
        raise InvalidTableError(f"Expected a whole parquet file in {path}; it is empty. {remedy}")
    with _bytes_of(path, mmap.ACCESS_READ) as content:
        place = _find_md5(content)
        if place is None:
            return
        with memoryview(content) as view:
            digest = hashlib.md5(view[: place.start], usedforsecurity=False)
            digest.update(_NO_MD5)
            digest.update(view[place.stop :])
        found = bytes(content[place])
    if found != digest.hexdigest().encode():
        raise InvalidTableError(f"Expected a whole parquet file in {path}; it is damaged or was changed. {remedy}")


def parquet_damage() -> tuple[type[Exception], ...]:
    """Return what pyarrow and pandas raise for a damaged file; the notes of pandas in its footer may say anything."""
    import pyarrow as pa

    return pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError


@contextmanager
def _bytes_of(path: Path, access: int) -> Iterator[mmap.mmap]:
    with (
        path.open("r+b" if access == mmap.ACCESS_WRITE else "rb") as file,
        mmap.mmap(file.fileno(), 0, access=access) as content,
    ):
        yield content


def _find_md5(content: mmap.mmap) -> slice | None:
    """Return where the md5 stands: behind its name, and two bytes that say how long it is."""
    name = content.rfind(_MD5_KEY)
    start = name + len(_MD5_KEY) + 2
    return slice(start, start + len(_NO_MD5)) if name >= 0 and start + len(_NO_MD5) <= len(content) else None
