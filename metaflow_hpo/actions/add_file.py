"""Putting a file into the inbox, with its sidecar, as one thing."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from metaflow_hpo.adapters.files import write_atomically
from metaflow_hpo.adapters.landed import list_files, mark_settled
from metaflow_hpo.adapters.ledger import locked_inbox
from metaflow_hpo.adapters.sources.inbox import check_landed
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.adapters.versioning import file_md5
from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import read_hints
from metaflow_hpo.modalities.registry import read_source, recognise
from metaflow_hpo.modalities.table.files.file_names import sidecar_of


def add_file(store: DataStore, source: Path, sidecar: Mapping[str, Any], *, replace: bool = False) -> Path:
    """Copy a file or folder into the inbox, with its sidecar before it, so that it is never seen without.

    Args:
        store: The data folder.
        source: A file or folder; `<name>.yaml` beside it is taken along.
        sidecar: Keys that win over those of the sidecar.
        replace: Whether another file of this name may be replaced: a new version of the same task.

    Returns:
        The file in the inbox; nothing is written where the same one is there.

    Raises:
        InvalidTaskError: It cannot become a task, or another file of this name is there.
    """
    check_landed(source, source.parent)
    given = {name: value for name, value in sidecar.items() if value is not None}
    values = read_hints(source).given(**given).model_dump(mode="json", exclude_unset=True)
    target = store.inbox / source.name
    has_sidecar = sidecar_of(source) != source
    if given and not has_sidecar:
        raise InvalidTaskError(
            f"Expected {', '.join(given)} in {source.name} itself, which has no sidecar. Write them there."
        )
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True) if values else ""
    _check_together(source, text)
    with locked_inbox(store):
        there = [path.name for path in store.inbox.glob("*") if _makes_the_same_task(path, target)]
        if there == [target.name] and _is_there(source, target, text):
            return target
        if [name for name in there if name != target.name] or (there and not replace):
            raise InvalidTaskError(
                f"Expected a new name; {', '.join(there)} is in {store.inbox} already, with other content. "
                "Rename the file, or give --replace for a new version of the same task."
            )
        beside = sidecar_of(target)
        if text:
            write_atomically(beside, lambda temporary: _write_text(temporary, text))
        elif has_sidecar:
            beside.unlink(missing_ok=True)
        if source.is_dir():
            _replace_folder(source, target)
        else:
            write_atomically(target, lambda temporary: _copy(source, temporary))
    return target


def _check_together(source: Path, sidecar: str) -> None:
    """Read file and sidecar as they will lie side by side."""
    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as folder:
        path = Path(folder) / source.name
        path.symlink_to(source.resolve())
        if sidecar:
            sidecar_of(path).write_text(sidecar, encoding="utf-8")
        read_source(path)


def _makes_the_same_task(path: Path, target: Path) -> bool:
    return path != sidecar_of(path) and sidecar_of(path) == sidecar_of(target) and bool(recognise(path))


def _is_there(source: Path, target: Path, sidecar: str) -> bool:
    beside = sidecar_of(target)
    written = beside.read_text(encoding="utf-8") if beside != target and beside.is_file() else ""
    return written == sidecar and _read_md5s(source) == _read_md5s(target)


def _read_md5s(path: Path) -> list[tuple[str, str]]:
    return [(str(one.relative_to(path)), file_md5(one)) for one in list_files(path)]


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    mark_settled(path)


def _replace_folder(source: Path, target: Path) -> None:
    """Copy a folder under a hidden name, which is looked at by nobody, and put it in place of the one that is there."""
    fresh, old = (target.with_name(f".{target.name}.{what}") for what in ("new", "old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(source, fresh, copy_function=_copy)
    if target.exists():
        target.replace(old)
    fresh.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def _copy(source: str | Path, target: str | Path) -> None:
    shutil.copyfile(source, target)
    mark_settled(Path(target))
