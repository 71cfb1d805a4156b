"""A person's own file as a task, with an optional sidecar `<name>.yaml` that says what a table cannot.

The one thing to know: what the caller gives wins over the sidecar, and the sidecar over what is inferred. A file of
the inbox came from anywhere: `check_landed` looks at what it is before a byte of its content is read.
"""

import os
import re
import stat
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.table.files.file_names import (
    INBOX_ENDINGS,
    PARQUET,
    SHOWN_ENDINGS,
    SIDECAR_SUFFIX,
    ending_of,
    sidecar_of,
    stem_of,
)
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.modalities.table.files.unpacking import MAX_UNPACKED_BYTES
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.modalities.table.target import AskedKind

OWN_LICENCE = "unspecified (own data)"
USUAL_TARGETS = ("target", "class", "label", "y")
_SOURCE = "inbox/"
MAX_FILE_BYTES = MAX_UNPACKED_BYTES
MAX_CELLS = 200_000_000
"""Rows times columns of a parquet file: one kilobyte of parquet can announce billions of them."""
MAX_SIDECAR_BYTES = 256 * 1024
MAX_SIDECAR_DEPTH = 4


class Sidecar(BaseModel):
    """What may stand in `<name>.yaml` beside `<name>.csv` or `<name>.csv.gz`.

    Attributes:
        target: Column to predict.
        kind: `binary`, `multiclass`, `classification` or `regression`.
        family: Group of relatives of the task.
        metric: Score to optimise.
        licence: Licence of the data.
        drop: Columns not to use.
        test_rows: Positions (from 0) of the test rows in the file.
        task_id: Name of the task.
        simulated: Whether the data are generated.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str | None = None
    kind: AskedKind | None = None
    family: str | None = None
    metric: str | None = None
    licence: str | None = None
    drop: tuple[str, ...] = ()
    test_rows: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    task_id: str | None = None
    simulated: bool = False


def load_file(
    path: Path,
    target: str | None = None,
    *,
    task_id: str | None = None,
    kind: AskedKind | None = None,
    metric: str | None = None,
) -> TableData:
    """Read and prepare a person's table, see `read_table`.

    Args:
        path: The file; `<name>.yaml` beside it is read if there is one.
        target: Column to predict; that of the sidecar, or a column called target, class, label or y, when None.
        task_id: Name of the task; that of the sidecar, or one made from the file's name, when None.
        kind: What to predict; that of the sidecar, or inferred, when None.
        metric: Score to optimise; that of the sidecar, or the kind's default, when None.

    Returns:
        The task, with `source` = `inbox/<file name>`.

    Raises:
        InvalidTaskError: The file, the sidecar or the table cannot be used; the message says what to do.
    """
    frame = read_table(path, reads_commas=False)
    sidecar = read_sidecar(sidecar_of(path))
    notes = list(frame.attrs.pop("notes", []))
    target = target or sidecar.target
    if target is None:
        target = _usual_target(path, [str(name).strip() for name in frame.columns])
        notes.append(f"Took the column {target!r} as target, for its name.")
    return prepare_task(
        frame,
        task_id=task_id or sidecar.task_id or task_id_of(path),
        target=target,
        source=f"{_SOURCE}{path.name}",
        licence=sidecar.licence or OWN_LICENCE,
        family=sidecar.family,
        kind=kind or sidecar.kind,
        metric=metric or sidecar.metric,
        drop=sidecar.drop,
        test_rows=sidecar.test_rows,
        simulated=sidecar.simulated,
        notes=notes,
        decimal_comma=frame.attrs.get("decimal_comma", False),
    )


def is_landed(source: str) -> bool:
    """Tell by its `source` whether a task is a file of the inbox."""
    return source.startswith(_SOURCE)


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar; an empty one where there is no such file.

    Raises:
        InvalidTaskError: It is not YAML, too large, or a key is unknown or has a wrong value; the message names it.
    """
    if not path.is_file():
        return Sidecar()
    if path.stat().st_size > MAX_SIDECAR_BYTES:
        raise InvalidTaskError(
            f"Expected at most {MAX_SIDECAR_BYTES} bytes in {path}; it has {path.stat().st_size}. Shorten the sidecar."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        _check_yaml(path, text)
        values = yaml.safe_load(text)
        return Sidecar.model_validate({} if values is None else values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'the whole'}: {one['msg']}" for one in error.errors(include_url=False)
        )
        raise InvalidTaskError(
            f"Expected only the keys {', '.join(Sidecar.model_fields)} in {path}; found {wrong}. Correct the sidecar."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidTaskError(f"Expected YAML in UTF-8 in {path}; found: {error}. Correct the sidecar.") from error


def check_landed(path: Path, inbox: Path) -> None:
    """Check what a file of the inbox is, before its content is read.

    Raises:
        InvalidTaskError: It, or its sidecar, is no regular file directly in `inbox` (a link is never followed), cannot
            be read, has an unknown ending or an unusable name, or is too large, unpacked or not.
    """
    if path.parent.resolve() != inbox.resolve():
        raise InvalidTaskError(f"Expected a file directly in {inbox}; got {path}. Copy it there.")
    if not path.name.isprintable():
        raise InvalidTaskError(f"Expected a printable file name; found {path.name!r}. Rename the file.")
    for one in (path, sidecar_of(path)):
        if os.path.lexists(one):
            _check_regular(one)
    ending = ending_of(path)
    if ending not in INBOX_ENDINGS:
        raise InvalidTaskError(
            f"Expected a file ending in {SHOWN_ENDINGS}; found {path.name}, which was not opened. "
            f"Unpack it or save it as csv or parquet; a sidecar ends in {SIDECAR_SUFFIX}."
        )
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InvalidTaskError(
            f"Expected at most {MAX_FILE_BYTES} bytes; {path.name} has {size}. Take a sample of its rows."
        )
    if ending in PARQUET:
        _check_unpacked_size(path)


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


def _check_yaml(path: Path, text: str) -> None:
    """Refuse what a sidecar never needs and what makes a small YAML large: references and deep nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise InvalidTaskError(f"Expected no references (`*name`) in {path}; found one. Write the value out.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_SIDECAR_DEPTH:
            raise InvalidTaskError(f"Expected keys with plain values or lists in {path}; found deep nesting. Mend it.")


def task_id_of(path: Path) -> str:
    """Return a task id made from a file's name: lower case, anything but letters and digits becomes `_`."""
    slug = re.sub(r"[^a-z0-9]+", "_", stem_of(path).lower()).strip("_")[:80]
    if not slug:
        raise InvalidTaskError(
            f"Expected letters or digits in the name of {path.name}; found none. Rename it or give task_id."
        )
    return slug


def _usual_target(path: Path, names: list[str]) -> str:
    usual = [name for name in names if name.lower() in USUAL_TARGETS]
    if len(usual) == 1:
        return usual[0]
    raise InvalidTaskError(
        f"Expected to be told which column of {path.name} to predict; it has {listed(names, 30)}. "
        f"Give --target, or write `target: <column>` into {sidecar_of(path).name}."
    )
