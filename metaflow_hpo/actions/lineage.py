"""The way back from a recommendation or a version to what it was made from.

The one thing to know: tables change after a surrogate was trained, so `fit` stores their md5 with its run, in
`lineage/inputs.json`; the names are those of DVC's cache. Where DVC has recorded these very tables, its `dvc.lock` is
stored too: with it `dvc checkout` brings the bytes back, whether or not anyone has committed it to git.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaflow_hpo.actions.feedback import read_recommendation
from metaflow_hpo.adapters.files import read_json, write_json
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.secrets import hide_passwords
from metaflow_hpo.adapters.versioning import data_md5, file_md5, recorded_md5
from metaflow_hpo.modalities.hints import is_landed

if TYPE_CHECKING:
    from metaflow_hpo.adapters.run import Run

_FILE, _LOCK, _ARTIFACTS = "inputs.json", "dvc.lock", "lineage"


def log_inputs(pipeline: Pipeline, run: "Run") -> None:
    """Store with a run which tables of trials, meta-features and tasks the surrogate is trained on."""
    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as folder:
        path = Path(folder) / _FILE
        write_json(path, _describe_inputs(pipeline))
        run.log_file(path, _ARTIFACTS)
    root, joined = pipeline.settings.root, pipeline.store.meta_dataset_path
    if (root / _LOCK).is_file() and recorded_md5(root, pipeline.name_recorded(joined)) == file_md5(joined):
        run.log_file(root / _LOCK, _ARTIFACTS)


def _describe_inputs(pipeline: Pipeline) -> dict[str, Any]:
    store, frame = pipeline.store, pipeline.store.read_meta_dataset()
    # A meta-data set that came as a table has no catalogue beside it.
    known = store.read_catalogue().to_dict("records") if store.catalogue_path.is_file() else []
    catalogue = {str(line["task_id"]): line for line in known}
    counts = frame.groupby("task_id").size()
    tasks = []
    for task_id in sorted(map(str, counts.index)):
        line = catalogue.get(task_id, {})
        source = line.get("source")
        raw = store.data / str(source) if is_landed(str(source)) else None
        tasks.append(
            {
                "task_id": task_id,
                "trials": int(counts[task_id]),
                "search_results": _version(store.search_results_path(task_id), store.data),
                "meta_features": _version(store.meta_features_path(task_id), store.data),
                "task": _version(store.task_path(task_id), store.data),
                "task_sha256": line.get("sha256"),
                "source": source,
                "raw_file": None if raw is None else _version(raw, store.data),
            }
        )
    return {
        "meta_dataset": _version(store.meta_dataset_path, store.data),
        "catalogue": _version(store.catalogue_path, store.data),
        "trials": len(frame),
        "tasks": tasks,
    }


def _version(path: Path, data: Path) -> dict[str, str | None]:
    return {"path": f"data/{path.relative_to(data).as_posix()}", "md5": file_md5(path) if path.is_file() else None}


def trace(pipeline: Pipeline, name: str) -> dict[str, Any]:
    """Walk back from a version of the surrogate, or from a recommendation.

    Args:
        pipeline: The surroundings.
        name: A version (a number), or a `recommendation_id` (16 hexadecimal digits).

    Returns:
        JSON-ready: `recommendation` (None for a version), `version`, `run`, `inputs` and `reproduce`. What is shipped
        with the package has neither run nor inputs here.

    Raises:
        MetaflowHPOError: If there is no such version or recommendation.
    """
    # An id of digits only, 16 of them, is no version.
    if name.isdecimal() and len(name) < 16:
        return {"recommendation": None, **_trace_version(pipeline, int(name))}
    answer = read_recommendation(pipeline, name)
    recommendation = {
        "recommendation_id": name,
        "time": answer["time"],
        "task": answer["task"],
        "recommendations": answer["recommendations"],
        "lineage": answer["lineage"],
    }
    version = str(answer["lineage"]["surrogate_version"])
    if not version.isdecimal():
        found: dict[str, Any] = {"version": None, "run": None, "inputs": None, "reproduce": []}
        return {"recommendation": recommendation, **found}
    return {"recommendation": recommendation, **_trace_version(pipeline, int(version))}


def _trace_version(pipeline: Pipeline, number: int) -> dict[str, Any]:
    registry, store = pipeline.registry, pipeline.store
    found, champion = registry.version(number), registry.champion()
    client = pipeline.tracking.client()
    run = client.get_run(str(found.run_id))
    tags, md5 = run.data.tags, found.tags.get("data.meta_dataset.md5")
    present = data_md5(store.meta_dataset_path) if store.meta_dataset_path.is_file() else None
    revision = tags.get("git.revision", "none")
    return {
        "version": {
            "name": registry.name,
            "version": number,
            "is_champion": champion is not None and champion.version == number,
            "status": found.tags.get("status"),
            "reason": found.tags.get("promotion.reason") or found.tags.get("rejection.reason"),
            "trained_from": found.tags.get("fit.start", "scratch"),
            "meta_dataset_md5": md5,
            "meta_dataset_is_present": md5 is not None and md5 == present,
        },
        "run": {
            "run_id": run.info.run_id,
            "experiment_id": run.info.experiment_id,
            "git_revision": revision,
            "git_dirty": tags.get("git.dirty") == "true",
            "dagster_run_id": tags.get("dagster.run_id"),
            "tracking_uri": pipeline.tracking.address,
        },
        "inputs": read_inputs(pipeline, run.info.run_id),
        "reproduce": [] if revision == "none" else _how_to_reproduce(pipeline, run.info.run_id, tags, revision),
    }


def _how_to_reproduce(pipeline: Pipeline, run_id: str, tags: Mapping[str, str], revision: str) -> list[str]:
    """Return the commands that make the version again, bit for bit on the same machine."""
    commands = [f"git checkout {revision}"]
    if _has_artifact(pipeline, run_id, _LOCK):
        server = hide_passwords(pipeline.tracking.tracking_uri)
        fetch = f"mlflow artifacts download -r {run_id} -a {_ARTIFACTS}/{_LOCK} -d ."
        commands.append(f"MLFLOW_TRACKING_URI={server} {fetch}")
    commands.append(f"dvc checkout {pipeline.name_recorded(pipeline.store.meta_dataset_path)}")
    start = tags.get("fit.start", "scratch")
    again = "dvc repro --force --single-item surrogate"
    is_from_scratch = start == "scratch"
    return [
        *commands,
        again if is_from_scratch else f"METAFLOW_HPO_REFIT_FROM={start.removeprefix('version ')} {again}",
    ]


def _has_artifact(pipeline: Pipeline, run_id: str, name: str) -> bool:
    listed = pipeline.tracking.client().list_artifacts(run_id, _ARTIFACTS)
    return f"{_ARTIFACTS}/{name}" in [artifact.path for artifact in listed]


def read_inputs(pipeline: Pipeline, run_id: str) -> dict[str, Any] | None:
    """Return what `log_inputs` stored with a run; None for one of before there was such a record."""
    from mlflow.artifacts import download_artifacts

    server = pipeline.tracking.tracking_uri
    if not _has_artifact(pipeline, run_id, _FILE):
        return None
    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as folder:
        path = download_artifacts(
            run_id=run_id, artifact_path=f"{_ARTIFACTS}/{_FILE}", dst_path=folder, tracking_uri=server
        )
        return dict(read_json(Path(path)))
