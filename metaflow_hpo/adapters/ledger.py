"""The ledger of the inbox, `data/intake/ledger.jsonl`: what became of every delivery.

The one thing to know: it only grows. The last line about a file says what holds.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field

from metaflow_hpo.adapters.clock import now
from metaflow_hpo.adapters.files import locked
from metaflow_hpo.adapters.journal import Journal
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.array_files import taking_apart

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
    time: str = field(default_factory=now)


def read_ledger(store: DataStore) -> list[Delivery]:
    """Return all deliveries, oldest first."""
    ledger = _ledger(store)
    with taking_apart(ledger.path, "Delete the lines that another program wrote, or the file: all is looked at again."):
        return [Delivery(**record) for record in ledger.read()]


def note_delivery(store: DataStore, delivery: Delivery) -> None:
    """Add a line to the ledger."""
    _ledger(store).append(asdict(delivery))


def select_accepted(deliveries: Iterable[Delivery]) -> dict[str, Delivery]:
    """Return the last acceptance of each file that nothing has undone since."""
    last = {delivery.file: delivery for delivery in deliveries}
    return {name: delivery for name, delivery in last.items() if delivery.outcome == ACCEPTED}


def locked_inbox(store: DataStore) -> AbstractContextManager[None]:
    """Let one process at a time look at the inbox, or change it."""
    return locked(store.data / "intake")


def _ledger(store: DataStore) -> Journal:
    return Journal(store.data / "intake" / "ledger.jsonl")
