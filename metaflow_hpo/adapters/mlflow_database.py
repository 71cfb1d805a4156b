"""The SQLite file in which MLflow keeps runs and models: made as a whole or not at all, and moved with its folder.

MLflow's migrations commit step by step, so a database that is interrupted while it is made can never be used again;
and it stores the full path of every artifact, so that a copied folder would write into the original.
"""

import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from metaflow_hpo.adapters.files import sync_folder
from metaflow_hpo.errors import MetaflowHPOError

PREFIX = "metaflow_hpo/"
"""What the names of our experiments begin with."""

_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns in which MLflow stores where artifacts lie."""

_WHOLLY_CHECKED = 32 * 2**20
"""Bytes of a database up to which its indices are checked as well: a second at most."""


def prepare_database(database: Path, artifacts: Path, fill: Callable[[Path], object]) -> None:
    """Make the database where there is none, and have one that was moved or copied point to the artifacts beside it.

    Several processes may call it at once: a lock file beside the database lets one at a time through. A database in a
    folder that cannot be written to is left as it is.

    Args:
        database: The file.
        artifacts: Where artifacts lie now.
        fill: Makes MLflow create its tables in a new file.

    Raises:
        MetaflowHPOError: If it was left half made by an interrupted run, or is damaged.
        OSError: If it cannot be written.
    """
    from filelock import FileLock

    if database.is_file() and not _may_be_written(database):
        check_whole(database)
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):
        if database.is_file() and database.stat().st_size > 0:
            check_whole(database)
            _move_addresses(database, artifacts)
        else:
            _create(database, fill)


def moved_roots(database: Path, artifacts: Path) -> dict[str, str]:
    """Return the addresses under which the database looks for artifacts, and that of the folder they are in now."""
    with closing(sqlite3.connect(_read_only(database), uri=True)) as connection:
        named = connection.execute(
            "SELECT name, artifact_location FROM experiments WHERE name LIKE ? || '%'", (PREFIX,)
        ).fetchall()
    now = artifacts.resolve().as_uri()
    ends = ((str(location), "/" + str(name).removeprefix(PREFIX)) for name, location in named)
    found = {location.removesuffix(end) for location, end in ends if location.endswith(end)}
    return {root: now for root in found if root.startswith("file:") and root != now}


def relocate(address: str, roots: Mapping[str, str]) -> str:
    """Return where an artifact lies now, see `moved_roots`."""
    for old, new in roots.items():
        if address.startswith(f"{old}/"):
            return new + address.removeprefix(old)
    return address


def _create(database: Path, fill: Callable[[Path], object]) -> None:
    for left in database.parent.glob(f".{database.name}.*.tmp*"):
        left.unlink()  # of a run that was killed; the lock says that nobody else is here
    temporary = database.with_name(f".{database.name}.{uuid.uuid4().hex}.tmp")
    try:
        fill(temporary)
        temporary.replace(database)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(database.parent)


def check_whole(database: Path) -> None:
    """Refuse a database that is damaged, or in which a migration was interrupted, saying what would be lost.

    Raises:
        MetaflowHPOError: If it is half made or damaged.
    """
    try:
        # Not read-only where that can be: SQLite takes back what a killed process has half written.
        address = database.resolve().as_uri() + "?mode=rw" if _may_be_written(database) else _read_only(database)
        with closing(sqlite3.connect(address, uri=True, timeout=60)) as connection:
            check = "integrity_check" if database.stat().st_size < _WHOLLY_CHECKED else "quick_check"
            found = str(connection.execute(f"PRAGMA {check}(1)").fetchone()[0])
            if found != "ok":
                raise sqlite3.DatabaseError(" ".join(found.split()))
            tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            half = sorted(name for name in tables if name.startswith("_alembic_tmp_"))
            is_whole = not half and "alembic_version" in tables
            runs = connection.execute("SELECT COUNT(*) FROM runs").fetchone()[0] if "runs" in tables else 0
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise MetaflowHPOError(
            f"Expected MLflow's database in {database}; found: {error}. Put a copy of it back, or move it away to "
            "begin a new one: runs and versions are lost then, trials in the data folder are not."
        ) from error
    if not is_whole:
        raise MetaflowHPOError(
            f"Expected MLflow's whole database in {database}; it was interrupted while it was made or upgraded and "
            f"holds {runs} runs. {'Delete it: nothing is lost.' if runs == 0 else 'Put a copy of it back.'}"
        )


def _move_addresses(database: Path, artifacts: Path) -> None:
    """Rewrite the addresses of artifacts in one transaction, where the folder was moved or copied."""
    roots = moved_roots(database, artifacts)
    if not roots:
        return
    with _transaction(database) as connection:
        for old, new in roots.items():
            for table, column in _ADDRESSES:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 -- names are constants
                    f"WHERE substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, len(old) + 1, f"{old}/"),
                )


@contextmanager
def _transaction(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        yield connection


def _may_be_written(database: Path) -> bool:
    return os.access(database, os.W_OK) and os.access(database.parent, os.W_OK)


def _read_only(database: Path) -> str:
    return f"{database.resolve().as_uri()}?mode=ro"
