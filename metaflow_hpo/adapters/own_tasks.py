"""What is kept of a person's task, so that its trials teach: what it is, how it is described, whom it is related to.

No row of it is kept. A task is known by the digest of its content.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaflow_hpo.adapters.files import read_json, write_json
from metaflow_hpo.array_files import taking_apart
from metaflow_hpo.task import Task

_DIGITS = 16
_REMEDY = "Delete it and search the task again."


@dataclass(frozen=True)
class OwnTask:
    """A person's task without its rows.

    Attributes:
        task: What it is.
        fingerprints: Digests of its parts, by which relatives are found.
        meta_features: Numbers that describe it, by column.
    """

    task: Task
    fingerprints: frozenset[str]
    meta_features: Mapping[str, float]


@dataclass(frozen=True)
class OwnTasks:
    """A folder with one file a task.

    Attributes:
        folder: The folder; it need not exist.
    """

    folder: Path

    def write(self, own: OwnTask) -> bool:
        """Keep a task; one that is kept already as it is, is left alone. Tell whether it was not."""
        path = self._path(own.task.sha256)
        described = {"task": own.task.to_dict(), "fingerprints": sorted(own.fingerprints)}
        content: dict[str, Any] = {**described, "meta_features": dict(own.meta_features)}
        if path.is_file() and read_json(path) == content:
            return False
        write_json(path, content)
        return True

    def read(self) -> list[OwnTask]:
        """Return all tasks, by name."""
        found = [self._read(path) for path in self.folder.glob("*.json")]
        return sorted(found, key=lambda own: (own.task.task_id, own.task.sha256))

    def find(self, sha256: str) -> OwnTask | None:
        """Return the task of this content; None where it is not kept."""
        path = self._path(sha256)
        return self._read(path) if path.is_file() else None

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256[:_DIGITS]}.json"

    def _read(self, path: Path) -> OwnTask:
        """Read one file.

        Raises:
            InvalidTableError: If it is damaged.
        """
        kept = read_json(path, remedy=_REMEDY)
        with taking_apart(path, _REMEDY):
            described = {str(name): float("nan" if v is None else v) for name, v in kept["meta_features"].items()}
            return OwnTask(Task.from_dict(kept["task"]), frozenset(kept["fingerprints"]), described)
