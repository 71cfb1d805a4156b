"""The way in: files of `data/inbox/` become tasks of the catalogue, once, or go to quarantine with a reason.

The one thing to know: `data/intake/ledger.jsonl` only grows and says what became of every delivery. A file is known by
the md5 of its bytes, a task by the digest of its prepared content: the same data under another name are a duplicate.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from metaflow_hpo.adapters.files import Journal, write_atomically
from metaflow_hpo.adapters.pipeline import logger
from metaflow_hpo.adapters.quarantine import drop_moved_sidecars, quarantine
from metaflow_hpo.adapters.sources.inbox import (
    INBOX_SUFFIXES,
    SIDECAR_SUFFIX,
    check_landed,
    load_file,
    read_sidecar,
)
from metaflow_hpo.adapters.sources.task_files import check_columns
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.adapters.versioning import file_md5
from metaflow_hpo.errors import InvalidTaskError, MetaflowHPOError
from metaflow_hpo.tables import validate_catalogue
from metaflow_hpo.task import TaskData

SETTLED_S = 5.0
"""A file that was written to in the last seconds may still be growing."""
UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")
"""Endings under which programs write before they rename."""
ACCEPTED, DUPLICATE, QUARANTINED, REMOVED = "accepted", "duplicate", "quarantined", "removed"


@dataclass(frozen=True)
class Delivery:
    """One line of the ledger.

    Attributes:
        file: Name in the inbox.
        outcome: `accepted`, `duplicate`, `quarantined` or `removed`.
        stamp: Sizes and modification times of file and sidecar; the same stamp means the same bytes.
        md5: md5 of the bytes of file and sidecar; empty for what was not opened.
        task_id: The task it became, or is a duplicate of; empty when it is none.
        sha256: Digest of the prepared content; empty when it is none.
        reason: Why it is no task.
        time: When, ISO 8601 in UTC.
    """

    file: str
    outcome: str
    stamp: str = ""
    md5: str = ""
    task_id: str = ""
    sha256: str = ""
    reason: str = ""
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


@dataclass(frozen=True)
class Intake:
    """What one pass over the inbox found: the tasks, and the deliveries that were new."""

    tasks: tuple[TaskData, ...]
    fresh: tuple[Delivery, ...]


def read_ledger(store: DataStore) -> list[Delivery]:
    """Return all deliveries, oldest first."""
    return [Delivery(**record) for record in _ledger(store).read()]


def list_landed(inbox: Path) -> list[Path]:
    """Return what lies in the inbox to be looked at, sorted by name.

    Left out are hidden files, files being written under a temporary ending, sidecars, and folders.
    """
    if not inbox.is_dir():
        return []
    return sorted(path for path in inbox.iterdir() if _is_looked_at(path))


def find_pending(store: DataStore) -> list[str]:
    """Return the names for which the catalogue must be read again: new and changed files, and accepted ones now gone.

    Files that may still be growing are left out.
    """
    accepted, landed = _accepted(read_ledger(store)), list_landed(store.inbox)
    fresh = [path.name for path in landed if _is_settled(path) and not _is_known(path, accepted.get(path.name))]
    return sorted([*fresh, *(set(accepted) - {path.name for path in landed})])


def accepted_tasks(store: DataStore) -> list[str]:
    """Return the ids of the tasks that files of the inbox became."""
    return sorted(delivery.task_id for delivery in _accepted(read_ledger(store)).values())


def replaced_tasks(store: DataStore) -> dict[str, str]:
    """Return the digest of each task of the inbox that was collected on rows it does not have any more, by its id."""
    if not store.catalogue_path.is_file():
        return {}
    landed = accepted_tasks(store)
    stale = set(store.waiting_tasks(landed)) if landed else set()
    digests = store.read_catalogue().set_index("task_id")["sha256"]
    return {t: str(digests[t]) for t in landed if t in stale and t in digests.index and _was_collected(store, t)}


def _was_collected(store: DataStore, task_id: str) -> bool:
    return store.search_results_path(task_id).is_file() and store.meta_features_path(task_id).is_file()


def take_in(store: DataStore, others: Sequence[TaskData]) -> Intake:
    """Turn the files of the inbox into tasks; what cannot be one, or is one already, goes to quarantine.

    Waits some seconds for files that were just written; one that still grows after that is left alone.

    Args:
        store: The data folder.
        others: The tasks that are no files of the inbox.
    """
    if not list_landed(store.inbox) and not _accepted(read_ledger(store)):
        return Intake((), ())
    with _locked(store):
        drop_moved_sidecars(store.inbox, store.quarantine)
        return _take_in(store, others)


def add_file(store: DataStore, source: Path, sidecar: Mapping[str, Any], *, replace: bool = False) -> Path:
    """Copy a file into the inbox, with its sidecar before it, so that it is never seen without.

    Args:
        store: The data folder.
        source: A file; `<name>.yaml` beside it is taken along.
        sidecar: Keys that win over those of the sidecar.
        replace: Whether another file of this name may be replaced: a new version of the same task.

    Returns:
        The file in the inbox; nothing is written where the same one is there.

    Raises:
        InvalidTaskError: It cannot become a task, or another file of this name is there.
    """
    check_landed(source, source.parent)
    given = {name: value for name, value in sidecar.items() if value is not None}
    values = read_sidecar(source.with_suffix(SIDECAR_SUFFIX)).model_dump(mode="json", exclude_unset=True) | given
    target = store.inbox / source.name
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True) if values else ""
    _check_together(source, text)
    with _locked(store):
        others = [store.inbox / f"{target.stem}{suffix}" for suffix in INBOX_SUFFIXES]
        there = [path.name for path in others if path.is_file()]
        if there == [target.name] and _is_there(source, target, text):
            return target
        if [name for name in there if name != target.name] or (there and not replace):
            raise InvalidTaskError(
                f"Expected a new name; {', '.join(there)} is in {store.inbox} already, with other content. "
                "Rename the file, or give --replace for a new version of the same task."
            )
        beside = target.with_suffix(SIDECAR_SUFFIX)
        if text:
            write_atomically(beside, lambda temporary: _write_text(temporary, text))
        else:
            beside.unlink(missing_ok=True)
        write_atomically(target, lambda temporary: _copy(source, temporary))
    return target


def _check_together(source: Path, sidecar: str) -> None:
    """Read file and sidecar as they will lie side by side."""
    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as folder:
        path = Path(folder) / source.name
        path.symlink_to(source.resolve())
        path.with_suffix(SIDECAR_SUFFIX).write_text(sidecar, encoding="utf-8")
        load_file(path)


def _is_there(source: Path, target: Path, sidecar: str) -> bool:
    beside = target.with_suffix(SIDECAR_SUFFIX)
    written = beside.read_text(encoding="utf-8") if beside.is_file() else ""
    return written == sidecar and file_md5(source) == file_md5(target)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    _age(path)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    _age(target)


def _age(path: Path) -> None:
    """Date a file back: it is complete once it has its name, so nobody needs to wait for it to settle."""
    then = time.time() - 2 * SETTLED_S
    os.utime(path, (then, then))


def _take_in(store: DataStore, others: Sequence[TaskData]) -> Intake:
    last = {delivery.file: delivery for delivery in read_ledger(store)}
    accepted = _accepted(last.values())
    settled, growing = _wait_until_settled(store.inbox)
    tasks = _keep_growing(store, growing, accepted)
    judge = _Judge(store.inbox, {data.task.task_id: data.task.sha256 for data in [*others, *tasks]})
    fresh: list[Delivery] = []
    # Those already accepted come first: of two alike, the newcomer is the duplicate.
    for path in sorted(settled, key=lambda path: (path.name not in accepted, path.name)):
        delivery, data = judge.look_at(path)
        if delivery.stamp != _stamp(path):
            logger.warning("%s was written to while it was read; it is left for the next time.", path.name)
            continue
        known = last.get(path.name)
        if known is None or (known.outcome, known.stamp) != (delivery.outcome, delivery.stamp):
            fresh.append(delivery)
            _ledger(store).append(asdict(delivery))
        if data is not None:
            tasks.append(data)
        else:
            logger.warning("%s is left out of the catalogue: %s", path.name, delivery.reason)
            quarantine(path, store.quarantine, delivery.reason)
    for name in sorted(set(accepted) - {path.name for path in [*settled, *growing]}):
        fresh.append(Delivery(name, REMOVED, task_id=accepted[name].task_id))
        _ledger(store).append(asdict(fresh[-1]))
    return Intake(tuple(tasks), tuple(fresh))


@dataclass(frozen=True)
class _Judge:
    """Decides what becomes of a file.

    Attributes:
        inbox: The folder the files must lie in.
        digests: Digest of every task there is, by id; what is accepted is added.
    """

    inbox: Path
    digests: dict[str, str]

    def look_at(self, path: Path) -> tuple[Delivery, TaskData | None]:
        """Return the line of the ledger, and the task where it is one."""
        stamp = _stamp(path)
        try:
            data = self._read(path)
        except InvalidTaskError as error:
            return Delivery(path.name, QUARANTINED, stamp, reason=str(error)), None
        task, md5 = data.task, _md5(path)
        twin = next((task_id for task_id, sha256 in self.digests.items() if sha256 == task.sha256), None)
        if twin is not None:
            reason = f"The same rows, columns and target as the task {twin!r}, which is there already: nothing to do."
            return Delivery(path.name, DUPLICATE, stamp, md5, twin, task.sha256, reason), None
        if task.task_id in self.digests:
            reason = (
                f"Expected a new task_id; {task.task_id!r} is the name of another task with other rows. "
                f"Rename the file, or write `task_id: <name>` into its sidecar {path.stem}{SIDECAR_SUFFIX}."
            )
            return Delivery(path.name, QUARANTINED, stamp, md5, reason=reason), None
        self.digests[task.task_id] = task.sha256
        return Delivery(path.name, ACCEPTED, stamp, md5, task.task_id, task.sha256), data

    def _read(self, path: Path) -> TaskData:
        """Read a file as far as the catalogue needs it, so that nothing can go wrong with it there."""
        check_landed(path, self.inbox)
        try:
            data = load_file(path)
            check_columns(data)
            validate_catalogue(pd.DataFrame([{**data.task.to_dict(), "notes": ""}]))
        except MetaflowHPOError as error:
            raise InvalidTaskError(str(error)) from error
        except (ValueError, TypeError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
            # One strange file must not keep all others out; the trace is for whoever mends the reader.
            logger.debug("%s broke the reader", path.name, exc_info=True)
            raise InvalidTaskError(
                f"Expected a table; {path.name} broke the reader ({type(error).__name__}: {error}). Save it again as "
                "plain csv; if that does not help, report it: the reader should have said what is wrong."
            ) from error
        return data


def _keep_growing(store: DataStore, growing: Iterable[Path], accepted: dict[str, Delivery]) -> list[TaskData]:
    """Return what files that are being overwritten were until now."""
    kept = []
    for path in growing:
        logger.warning("%s is still being written; it is left for the next time.", path.name)
        known = accepted.get(path.name)
        if known is not None and store.task_path(known.task_id).is_file():
            kept.append(store.read_task(known.task_id))
    return kept


def _wait_until_settled(inbox: Path) -> tuple[list[Path], list[Path]]:
    """Return the files that nobody writes to any more, and those that are still written to."""
    deadline = time.monotonic() + 2 * SETTLED_S
    while True:
        landed = list_landed(inbox)
        growing = [path for path in landed if not _is_settled(path)]
        if not growing or time.monotonic() >= deadline:
            return [path for path in landed if path not in growing], growing
        time.sleep(0.2)


def _is_looked_at(path: Path) -> bool:
    name = path.name.lower()
    if name.startswith(".") or name.endswith((SIDECAR_SUFFIX, *UNFINISHED)):
        return False
    return not path.is_dir() or path.is_symlink() or name.endswith(INBOX_SUFFIXES)


def _is_settled(path: Path) -> bool:
    """Tell whether file and sidecar were last written some seconds ago, or come from a clock that is ahead."""
    return all(abs(time.time() - stat.st_mtime) >= SETTLED_S for stat in _stats(path))


def _is_known(path: Path, known: Delivery | None) -> bool:
    """Tell whether these bytes were accepted; they are read only where the stamp has changed."""
    if known is None:
        return False
    return known.stamp == _stamp(path) or (path.is_file() and not path.is_symlink() and known.md5 == _md5(path))


def _stamp(path: Path) -> str:
    return " ".join(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in _stats(path))


def _stats(path: Path) -> list[os.stat_result]:
    both = (path, path.with_suffix(SIDECAR_SUFFIX))
    return [one.lstat() for one in both if os.path.lexists(one)]


def _md5(path: Path) -> str:
    both = (path, path.with_suffix(SIDECAR_SUFFIX))
    return " ".join(file_md5(one) for one in both if one.is_file())


def _accepted(deliveries: Iterable[Delivery]) -> dict[str, Delivery]:
    """Return the last acceptance of each file that nothing has undone since."""
    last = {delivery.file: delivery for delivery in deliveries}
    return {name: delivery for name, delivery in last.items() if delivery.outcome == ACCEPTED}


def _ledger(store: DataStore) -> Journal:
    return Journal(store.data / "intake" / "ledger.jsonl")


@contextmanager
def _locked(store: DataStore) -> Iterator[None]:
    """Let one process at a time look at the inbox."""
    from filelock import FileLock

    folder = store.data / "intake"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        yield
