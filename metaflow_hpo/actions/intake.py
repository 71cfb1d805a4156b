"""The way in: files of `data/inbox/` become tasks of the catalogue, once, or go to quarantine with a reason.

The one thing to know: `data/intake/ledger.jsonl` only grows and says what became of every delivery. A file is known by
the md5 of its bytes, a task by the digest of its prepared content: the same data under another name are a duplicate.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from metaflow_hpo.adapters.landed import is_settled, list_landed, md5_of, stamp_of, wait_until_settled
from metaflow_hpo.adapters.ledger import (
    ACCEPTED,
    DUPLICATE,
    QUARANTINED,
    REMOVED,
    Delivery,
    locked_inbox,
    note_delivery,
    read_ledger,
    select_accepted,
)
from metaflow_hpo.adapters.pipeline import logger
from metaflow_hpo.adapters.quarantine import drop_moved_sidecars, quarantine
from metaflow_hpo.adapters.sources.inbox import check_landed
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.errors import InvalidTaskError, MetaflowHPOError, show_controls
from metaflow_hpo.modalities.hints import read_hints
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.modalities.table.files.file_names import sidecar_of
from metaflow_hpo.tables import tasks_to_frame
from metaflow_hpo.task import TaskData, is_name_apart, name_apart


@dataclass(frozen=True)
class Intake:
    """What one pass over the inbox found: the tasks, and the deliveries that were new."""

    tasks: tuple[TaskData, ...]
    fresh: tuple[Delivery, ...]


def find_pending(store: DataStore) -> list[str]:
    """Return the names for which the catalogue must be read again: new and changed files, and accepted ones now gone.

    Files that may still be growing are left out.
    """
    accepted, landed = select_accepted(read_ledger(store)), list_landed(store.inbox)
    fresh = [path.name for path in landed if is_settled(path) and not _is_known(path, accepted.get(path.name))]
    return sorted([*fresh, *(set(accepted) - {path.name for path in landed})])


def accepted_tasks(store: DataStore) -> list[str]:
    """Return the ids of the tasks that files of the inbox became."""
    return sorted(delivery.task_id for delivery in select_accepted(read_ledger(store)).values())


def replaced_tasks(store: DataStore) -> dict[str, str]:
    """Return the digest of each task of the inbox that was collected on rows it does not have any more, by its id."""
    if not store.catalogue_path.is_file():
        return {}
    landed = accepted_tasks(store)
    stale = set(store.waiting_tasks(landed)) if landed else set()
    digests = store.read_catalogue().set_index("task_id")["sha256"]
    return {t: str(digests[t]) for t in landed if t in stale and t in digests.index and store.is_collected(t)}


def take_in(store: DataStore, others: Sequence[TaskData]) -> Intake:
    """Turn the files of the inbox into tasks; what cannot be one, or is one already, goes to quarantine.

    Waits some seconds for files that were just written; one that still grows after that is left alone.

    Args:
        store: The data folder.
        others: The tasks that are no files of the inbox.
    """
    if not list_landed(store.inbox) and not select_accepted(read_ledger(store)):
        return Intake((), ())
    with locked_inbox(store):
        drop_moved_sidecars(store.inbox, store.quarantine)
        return _take_in(store, others)


def _take_in(store: DataStore, others: Sequence[TaskData]) -> Intake:
    last = {delivery.file: delivery for delivery in read_ledger(store)}
    accepted = select_accepted(last.values())
    settled, growing = wait_until_settled(store.inbox)
    tasks = _keep_growing(store, growing, accepted)
    judge = _Judge(store.inbox, {data.task.task_id: data.task.sha256 for data in [*others, *tasks]}, accepted)
    fresh: list[Delivery] = []
    # Those already accepted come first: of two alike, the newcomer is the duplicate.
    for path in sorted(settled, key=lambda path: (path.name not in accepted, path.name)):
        delivery, data = judge.look_at(path)
        if delivery.stamp != stamp_of(path):
            logger.warning(
                "%s was written to while it was read; it is left for the next time.", show_controls(path.name)
            )
            continue
        known = last.get(path.name)
        if known is None or (known.outcome, known.stamp) != (delivery.outcome, delivery.stamp):
            fresh.append(delivery)
            note_delivery(store, delivery)
        if data is not None:
            tasks.append(data)
        else:
            logger.warning("%s is left out of the catalogue: %s", show_controls(path.name), delivery.reason)
            quarantine(path, store.quarantine, delivery.reason)
    for name in sorted(set(accepted) - {path.name for path in [*settled, *growing]}):
        fresh.append(Delivery(name, REMOVED, task_id=accepted[name].task_id))
        note_delivery(store, fresh[-1])
    return Intake(tuple(tasks), tuple(fresh))


@dataclass(frozen=True)
class _Judge:
    """Decides what becomes of a file.

    Attributes:
        inbox: The folder the files must lie in.
        digests: Digest of every task there is, by id; what is accepted is added.
        accepted: What became of each file before: a file keeps the name of its task.
    """

    inbox: Path
    digests: dict[str, str]
    accepted: Mapping[str, Delivery] = field(default_factory=dict)

    def look_at(self, path: Path) -> tuple[Delivery, TaskData | None]:
        """Return the line of the ledger, and the task where it is one."""
        stamp = stamp_of(path)
        try:
            data = self._name(path, self._read(path))
        except InvalidTaskError as error:
            # By its name: reasons are shown in Dagster and MLflow, where nobody needs the folders of this machine.
            return Delivery(path.name, QUARANTINED, stamp, reason=str(error).replace(f"{path.parent}/", "")), None
        task, md5 = data.task, md5_of(path)
        twin = next((task_id for task_id, sha256 in self.digests.items() if sha256 == task.sha256), None)
        if twin is not None:
            reason = f"The same rows, columns and target as the task {twin!r}, which is there already: nothing to do."
            return Delivery(path.name, DUPLICATE, stamp, md5, twin, task.sha256, reason), None
        if task.task_id in self.digests:
            reason = (
                f"Expected a new task_id; {task.task_id!r} is the name of another task with other rows. "
                f"Write another one into the sidecar {sidecar_of(path).name}, or none."
            )
            return Delivery(path.name, QUARANTINED, stamp, md5, reason=reason), None
        self.digests[task.task_id] = task.sha256
        return Delivery(path.name, ACCEPTED, stamp, md5, task.task_id, task.sha256), data

    def _name(self, path: Path, data: TaskData) -> TaskData:
        """Name a task by its file, and by its content as well where another task has that name: `a b.csv`, `a_b.csv`.

        What a person calls it is left as it is.
        """
        task, before = data.task, self.accepted.get(path.name)
        if sidecar_of(path) == path or read_hints(path).task_id is not None:
            return data
        was_apart = before is not None and is_name_apart(before.task_id, task.task_id)
        task_id = before.task_id if before is not None and was_apart else task.task_id
        if self.digests.get(task_id, task.sha256) != task.sha256:
            task_id = name_apart(task)
        if task_id == task.task_id:
            return data
        note = f"Named {task_id!r}, as another task is called {task.task_id!r}."
        named = replace(task, task_id=task_id, notes=(*task.notes, note))
        return replace(data, task=named)  # type: ignore[type-var]  # the data of every modality are dataclasses

    def _read(self, path: Path) -> TaskData:
        """Read a file as far as the catalogue needs it, so that nothing can go wrong with it there."""
        check_landed(path, self.inbox)
        try:
            data = read_source(path)
            tasks_to_frame([data.task])
        except MetaflowHPOError as error:
            raise InvalidTaskError(str(error)) from error
        except (ValueError, TypeError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
            # One strange file must not keep all others out; the trace is for whoever mends the reader.
            logger.debug("%s broke the reader", path.name, exc_info=True)
            raise InvalidTaskError(
                f"Expected data of a task; {path.name} broke the reader ({type(error).__name__}: {error}). Save it "
                "again, a table as plain csv; if that does not help, report it: the reader should have said what is "
                "wrong."
            ) from error
        return data


def _keep_growing(store: DataStore, growing: Iterable[Path], accepted: dict[str, Delivery]) -> list[TaskData]:
    """Return what files that are being overwritten were until now."""
    kept = []
    for path in growing:
        logger.warning("%s is still being written; it is left for the next time.", show_controls(path.name))
        known = accepted.get(path.name)
        if known is not None and store.task_path(known.task_id).is_file():
            kept.append(store.read_task(known.task_id))
    return kept


def _is_known(path: Path, known: Delivery | None) -> bool:
    """Tell whether these bytes were accepted; they are read only where the stamp has changed."""
    if known is None:
        return False
    return known.stamp == stamp_of(path) or (not path.is_symlink() and known.md5 == md5_of(path))
