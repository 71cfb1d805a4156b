"""Unpack a compressed table in memory: gzip, bzip2, xz, or a zip with one file in it.

The one thing to know: nothing is written to disk, and what comes out is counted before it is kept, so that a small file
cannot fill the memory.
"""

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.table.files.file_names import COMPRESSED, RECORDS, TEXT, ending_of

MAX_UNPACKED_BYTES = 2 * 1024**3
MAX_RATIO = 100
"""Times its own size that a file may unpack to, beyond `FREE_BYTES`: tables reach 20, what is made to harm 1,000."""
FREE_BYTES = 64 * 1024**2
MAX_DECODER_BYTES = 256 * 1024**2
"""Memory of the xz decoder. A file says itself how much it needs: 65 MB with the strongest of the usual settings."""
_CHUNK = 1024**2
_DAMAGE = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError)


def unpack(path: Path) -> tuple[bytes, str]:
    """Return the content of a compressed file, and the ending of the table inside.

    Args:
        path: File ending in .gz, .bz2, .xz or .zip.

    Raises:
        InvalidTaskError: It is cut short or damaged, does not hold one table, or holds more than `find_limit` allows.
    """
    ending = ending_of(path)
    if ending == ".zip":
        with _damage_is_said(path):
            ending = ending_of(Path(_only_member(path)))
    size, limit = 0, find_limit(path)
    with _damage_is_said(path):
        for chunk in _read_chunks(path):
            size += len(chunk)
            if size > limit:
                break
    if size > limit:
        raise InvalidTaskError(
            f"Expected at most {limit} bytes unpacked; {path.name} ({path.stat().st_size} bytes) holds more. "
            "Take a sample of its rows, or unpack it yourself."
        )
    with _damage_is_said(path):
        content = b"".join(_read_chunks(path))
    return content, next(one for one in (*TEXT, *RECORDS) if ending.startswith(one))


def read_head(path: Path, size: int) -> bytes:
    """Return the first bytes of a file, unpacked where it is packed.

    Raises:
        InvalidTaskError: It is damaged before that, or a zip of something else than one table.
    """
    if ending_of(path).endswith(COMPRESSED):
        head = b""
        with _damage_is_said(path):
            for chunk in _read_chunks(path):
                head += chunk
                if len(head) >= size:
                    break
        return head[:size]
    with path.open("rb") as file:
        return file.read(size)


def find_limit(path: Path) -> int:
    """Return how many bytes a packed file may hold: the smaller it is, the fewer, but always `FREE_BYTES`."""
    return min(MAX_UNPACKED_BYTES, max(FREE_BYTES, MAX_RATIO * path.stat().st_size))


def holds_one_file(path: Path) -> bool:
    """Tell whether a zip holds nothing beside its table, so that pandas reads it."""
    with zipfile.ZipFile(path) as archive:
        return len(archive.namelist()) == 1


@contextmanager
def _damage_is_said(path: Path) -> Iterator[None]:
    try:
        yield
    except InvalidTaskError:
        raise
    except _DAMAGE as error:
        raise InvalidTaskError(
            f"Expected a whole {path.suffix.lower()} file; {path} cannot be unpacked ({error}). "
            "It may be cut short or of another format: copy or pack it again."
        ) from error


def _read_chunks(path: Path) -> Iterator[bytes]:
    match path.suffix.lower():
        case ".gz":
            with gzip.open(path, "rb") as file:
                yield from iter(lambda: file.read(_CHUNK), b"")
        case ".bz2":
            with bz2.open(path, "rb") as file:
                yield from iter(lambda: file.read(_CHUNK), b"")
        case ".xz":
            with path.open("rb") as file:
                yield from _read_xz(file)
        case _:
            with zipfile.ZipFile(path) as archive, archive.open(_only_member(path)) as file:
                yield from iter(lambda: file.read(_CHUNK), b"")


def _read_xz(file: IO[bytes]) -> Iterator[bytes]:
    """Read one xz stream or several; unlike `lzma.open` within a limit of memory."""
    rest = b""
    while rest or (rest := file.read(_CHUNK).lstrip(b"\0")):  # zeros may fill up the end of a stream
        decoder = lzma.LZMADecompressor(memlimit=MAX_DECODER_BYTES)
        while not decoder.eof:
            if decoder.needs_input and not rest and not (rest := file.read(_CHUNK)):
                raise EOFError("it ends before its end mark")
            yield decoder.decompress(rest, max_length=_CHUNK)
            rest = b""
        rest = decoder.unused_data.lstrip(b"\0")


def _only_member(path: Path) -> str:
    """Return the name of the one table in a zip; what macOS adds by itself is not counted."""
    with zipfile.ZipFile(path) as archive:
        members = [one for one in archive.infolist() if not one.is_dir() and not _is_added(one.filename)]
    names = [one.filename for one in members]
    if len(members) != 1 or ending_of(Path(names[0])) not in (*TEXT, *RECORDS):
        raise InvalidTaskError(
            f"Expected one table in {path}, as csv, tsv or JSON lines; found {len(members)} files ({listed(names)}). "
            "Unpack it and give one of them."
        )
    if members[0].flag_bits & 1:
        raise InvalidTaskError(f"Expected a zip without a password; {path} has one. Unpack it and give what it holds.")
    return names[0]


def _is_added(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".")
