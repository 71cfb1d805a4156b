"""Folders and zips alike as a tree of files: what is in them, looked at before anything is read."""

import os
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.items.listed import ItemFile
from metaflow_hpo.modalities.table.files.unpacking import find_limit

_JUNK = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"}
_DAMAGE = (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError)


@dataclass(frozen=True)
class Tree:
    """The files of a folder or zip.

    Attributes:
        source: The folder or zip.
        files: By their path below it, with `/`, sorted; without hidden ones and what systems add by themselves.
        notes: What was left out.
    """

    source: Path
    files: Mapping[str, ItemFile]
    notes: tuple[str, ...] = ()


def open_tree(source: Path) -> Tree:
    """Return the files of a folder or zip.

    Raises:
        InvalidTaskError: If there is none, or the zip is damaged, locked, would unpack to too much, or names files
            outside of itself.
    """
    if source.is_dir():
        return _open_folder(source)
    if not source.is_file():
        raise InvalidTaskError(f"Expected a file or folder; there is no {source}. Check the name and the folder.")
    try:
        archive = zipfile.ZipFile(source)
        members = archive.infolist()
    except _DAMAGE as error:
        raise InvalidTaskError(f"Expected a whole zip; {source} cannot be opened ({error}). Pack it again.") from error
    _check_members(source, members)
    named = [(_plain(one.filename), one) for one in members]
    files = [(name, one) for name, one in named if not name.endswith("/") and not is_junk(name)]
    opened = {name: ItemFile(name, partial(_read_member, archive, one)) for name, one in files}
    return Tree(source, dict(sorted(opened.items())))


def _plain(name: str) -> str:
    """Return a path of a zip with slashes: some programs of Windows pack it with backslashes."""
    return name.replace("\\", "/")


def is_junk(name: str) -> bool:
    """Tell of a path below a source whether it is hidden, or what systems add by themselves."""
    return any(part.startswith(".") or part.lower() in _JUNK for part in name.split("/"))


def peek_names(source: Path, limit: int) -> list[str]:
    """Return the paths of at most `limit` files, as `Tree.files` has them; none where a zip is broken."""
    if source.is_dir():
        found = (
            f"{below}/{name}".removeprefix("./")
            for folder, _, names in os.walk(source)
            for below in [Path(folder).relative_to(source).as_posix()]
            for name in names
        )
        return list(islice((path for path in found if not is_junk(path)), limit))
    try:
        with zipfile.ZipFile(source) as archive:
            names = map(_plain, archive.namelist())
    except _DAMAGE:
        return []
    return list(islice((name for name in names if not name.endswith("/") and not is_junk(name)), limit))


def _open_folder(source: Path) -> Tree:
    files, links = {}, []
    for folder, below, names in os.walk(source):
        at = Path(folder).relative_to(source).as_posix()
        links += [f"{at}/{name}".removeprefix("./") for name in below if (Path(folder) / name).is_symlink()]
        for name in names:
            path = f"{at}/{name}".removeprefix("./")
            if not is_junk(path):
                files[path] = ItemFile(path, partial(read_file, Path(folder) / name))
    note = [f"Left out linked folders, which are not followed: {listed(sorted(links))}."] if links else []
    return Tree(source, dict(sorted(files.items())), tuple(note))


def read_file(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        InvalidTaskError: If it is none, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidTaskError(f"Expected a file; {path.name} is none.")
        return path.read_bytes()
    except OSError as error:
        raise InvalidTaskError(f"Expected a readable file; {path.name} is not ({error.strerror}).") from error


def _check_members(source: Path, members: list[zipfile.ZipInfo]) -> None:
    outside = [one.filename for one in members if _leads_out(one.filename)]
    links = [one.filename for one in members if stat.S_ISLNK(one.external_attr >> 16)]
    if outside or links:
        raise InvalidTaskError(
            f"Expected files below one folder in {source.name}; found {listed(outside or links)}, which "
            f"{'lie outside' if outside else 'are links'}. Pack it again, from the files themselves."
        )
    if any(one.flag_bits & 1 for one in members):
        raise InvalidTaskError(
            f"Expected a zip without a password; {source.name} has one. Unpack it and give the folder."
        )
    size, limit = sum(one.file_size for one in members), find_limit(source)
    if size > limit:
        raise InvalidTaskError(
            f"Expected at most {limit} bytes unpacked; {source.name} ({source.stat().st_size} bytes) announces {size}. "
            "Unpack it yourself and give the folder, if you trust it."
        )


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or ":" in path.parts[0] if path.parts else True


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(member)  # never more than it announces
    except _DAMAGE as error:
        raise InvalidTaskError(f"Expected a whole file; {member.filename} cannot be unpacked ({error}).") from error
