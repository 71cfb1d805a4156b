"""Find the files of a task of series: one file, or the training and test part that archives keep in two."""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.table.files.unpacking import find_limit

ENDINGS = (".ts", ".tsv", ".txt", ".arff")
"""Formats that keep both parts in files of their own, the one that loses least first."""

_PART = re.compile(r"(.+)[_-](TRAIN|TEST)(\.ts|\.tsv|\.txt|\.arff)", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """One file of a task.

    Attributes:
        path: Its name, for messages; where it lies, unless it lies in a zip.
        content: Its bytes.
        is_test: Whether it is the test part.
    """

    path: Path
    content: bytes
    is_test: bool = False

    @property
    def ending(self) -> str:
        """Its ending in lower case."""
        return self.path.suffix.lower()


def part_name(name: str) -> tuple[str, bool] | None:
    """Return what the parts of a task are called, and whether this is the test part; None for other names."""
    read = _PART.fullmatch(name)
    return None if read is None else (read.group(1), read.group(2).upper() == "TEST")


def find_pair(names: list[str]) -> tuple[str, str | None] | None:
    """Return the names of training and test part among those of a folder or zip, the best format's.

    Returns:
        None where there is no training part, or there are those of several tasks.
    """
    own = [name for name in names if not name.startswith("__MACOSX/")]
    trainings = [name for name in own if (read := part_name(PurePosixPath(name).name)) and not read[1]]
    if len({_task_of(name) for name in trainings}) != 1:
        return None
    best = min(trainings, key=lambda name: ENDINGS.index(PurePosixPath(name).suffix.lower()))
    return best, _other_of(best, own)


def find_parts(source: Path) -> list[Part]:
    """Return the parts of a task: of a file, of the pair that it belongs to, of a folder, or of a zip.

    Raises:
        InvalidTaskError: There is no such file, it holds no such pair, or a zip is damaged or holds too much.
    """
    if source.is_dir():
        return _of_folder(source)
    if source.suffix.lower() == ".zip":
        return _of_zip(source)
    if not source.is_file():
        raise InvalidTaskError(f"Expected a file of series; there is no {source}. Check the name and the folder.")
    read = part_name(source.name)
    if read is None:
        return [Part(source, _bytes_of(source))]
    names = sorted(one.name for one in source.parent.iterdir())
    if read[1]:
        training = _other_of(source.name, names)
        if training is None:
            raise InvalidTaskError(
                f"Expected the training part beside {source.name}, which is a test part; it is not there. Copy it "
                "there, or rename the file if it is all there is."
            )
        source = source.with_name(training)
    test = _other_of(source.name, names)
    parts = [Part(source, _bytes_of(source))]
    return parts if test is None else [*parts, Part(source.with_name(test), _bytes_of(source.with_name(test)), True)]


def _task_of(name: str) -> str:
    path = PurePosixPath(name)
    read = part_name(path.name)
    return str(path.with_name(read[0] if read else path.name)).lower()


def _other_of(name: str, names: list[str]) -> str | None:
    """Return the other part of a pair, of the same format."""
    read, ending = part_name(PurePosixPath(name).name), PurePosixPath(name).suffix.lower()
    for other in names:
        found = part_name(PurePosixPath(other).name)
        if found is None or read is None or found[1] == read[1]:
            continue
        if _task_of(other) == _task_of(name) and PurePosixPath(other).suffix.lower() == ending:
            return other
    return None


def _of_folder(source: Path) -> list[Part]:
    names = sorted(one.name for one in source.iterdir() if one.is_file())
    pair = find_pair(names)
    if pair is None:
        raise InvalidTaskError(_no_pair(source, names))
    return [Part(source / name, _bytes_of(source / name), name == pair[1]) for name in pair if name is not None]


def _of_zip(source: Path) -> list[Part]:
    try:
        with zipfile.ZipFile(source) as archive:
            members = {one.filename: one for one in archive.infolist() if not one.is_dir()}
            pair = find_pair(sorted(members))
            if pair is None:
                raise InvalidTaskError(_no_pair(source, sorted(members)))
            chosen = [name for name in pair if name is not None]
            limit = find_limit(source)
            if sum(members[name].file_size for name in chosen) > limit:
                raise InvalidTaskError(
                    f"Expected at most {limit} bytes unpacked; {source.name} holds more. Unpack it yourself."
                )
            return [Part(Path(name), archive.read(name), name == pair[1]) for name in chosen]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise InvalidTaskError(
            f"Expected a whole zip; {source.name} cannot be unpacked ({error}). Copy it again, or unpack it."
        ) from error


def _no_pair(source: Path, names: list[str]) -> str:
    return (
        f"Expected the parts of one task, <name>_TRAIN.ts and <name>_TEST.ts (or .tsv, .txt, .arff), in {source.name}; "
        f"found {listed(names, 10)}. Give one of its files."
    )


def _bytes_of(path: Path) -> bytes:
    content = path.read_bytes()
    if not content:
        raise InvalidTaskError(f"Expected series; {path.name} is empty (0 bytes). Save or copy it again.")
    return content
