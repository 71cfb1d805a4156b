"""The knowledge page: of the data folder or, where that has no catalogue yet, of what ships with the package.

The one thing to know: it shows the tasks that have been searched so far, so it can be made while a collection runs.
"""

import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from metaflow_hpo.adapters.evaluation_files import read_tuning
from metaflow_hpo.adapters.files import read_frame, read_json, write_text
from metaflow_hpo.adapters.knowledge import open_shipped
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.adapters.versioning import file_md5
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.evaluate.report.knowledge_report import KnownTables, render_report
from metaflow_hpo.modalities.modality import Fingerprinting
from metaflow_hpo.modalities.registry import get_modality
from metaflow_hpo.version import __version__

if TYPE_CHECKING:
    from metaflow_hpo.adapters.knowledge import Knowledge
    from metaflow_hpo.learners.learner import Learner

_PACKAGES = ("numpy", "numba", "torch", "scikit-learn", "optuna")


def write_report(pipeline: Pipeline, output: Path, stability: Path | None = None) -> dict[str, str | int | float]:
    """Write the knowledge page of the data folder.

    Args:
        pipeline: Settings say which learner's trials are shown.
        output: The HTML file, replaced if it exists.
        stability: JSON list of records, one a meta-feature, shown as a table; None for no such table.

    Returns:
        What was written: `output`, `tasks`, `trials`, `bytes`, `seconds`.

    Raises:
        InvalidTableError: If no task has been searched yet, or `stability` is not such a file.
    """
    started = time.monotonic()
    knowledge = read_knowledge(pipeline, None if stability is None else _read_stability(stability))
    text = render_report(knowledge)
    write_text(output, text)
    return {
        "output": str(output),
        "tasks": int(knowledge.trials["task_id"].nunique()),
        "trials": len(knowledge.trials),
        "bytes": output.stat().st_size,
        "seconds": time.monotonic() - started,
    }


def publish_report(pipeline: Pipeline) -> dict[str, str | int | float]:
    """Write the knowledge page into the data folder and log it to MLflow, one run a meta-data set.

    Returns:
        As `write_report`.
    """
    written = write_report(pipeline, pipeline.store.knowledge_report_path)
    md5 = file_md5(pipeline.store.meta_dataset_path)
    keys = pipeline.key_tags("knowledge_report", f"{md5}/{pipeline.learner.name}")
    with pipeline.tracking.parent_run("knowledge_report", f"knowledge of {pipeline.learner.name}", keys) as run:
        run.set_tags(pipeline.tags({"meta_dataset": md5}) | keys)
        run.log_metrics({name: float(str(written[name])) for name in ("tasks", "trials", "seconds")})
        run.log_file(pipeline.store.knowledge_report_path)
    return written


def read_knowledge(pipeline: Pipeline, stability: pd.DataFrame | None = None) -> KnownTables:
    """Return the tables of the data folder, those of unfinished searches left out, or the shipped ones.

    Raises:
        InvalidTableError: If no task has been searched yet.
    """
    store, learner, shipped = pipeline.store, pipeline.learner, pipeline.knowledge
    if shipped is not None and not _is_collected(pipeline):
        return _read_shipped(shipped, learner, stability)
    catalogue = store.read_catalogue()
    catalogue = catalogue.loc[catalogue["task_id"].isin(pipeline.task_ids())].reset_index(drop=True)
    names = [str(name) for name in catalogue["task_id"]]
    searched = [name for name in names if store.search_results_path(name).is_file()]
    if not searched:
        raise InvalidTableError(f"No search results in {store.data}. Run `metaflow-hpo step search_results` first.")
    trials = pd.concat([read_frame(store.search_results_path(name)) for name in searched], ignore_index=True)
    described = [read_frame(p) for p in map(store.meta_features_path, names) if p.is_file()]
    return KnownTables(
        catalogue=catalogue,
        trials=trials.drop(columns=["learning_curve"], errors="ignore"),
        meta_features=pd.concat(described, ignore_index=True) if described else pd.DataFrame({"task_id": []}),
        learner=learner.name,
        space=learner.space,
        fingerprints=_read_fingerprints(pipeline, searched),
        stability=stability,
        tuning=read_tuning(store),
        provenance=_provenance(store) | _list_shipped(),
    )


def _read_shipped(shipped: "Knowledge", learner: "Learner", stability: pd.DataFrame | None) -> KnownTables:
    """Return the shipped tables; rows do not ship, so there are no fingerprints of columns."""
    facts = shipped.provenance
    return KnownTables(
        catalogue=shipped.read_catalogue(),
        trials=shipped.read_trials().drop(columns=["learning_curve"], errors="ignore"),
        meta_features=shipped.read_meta_features(),
        learner=learner.name,
        space=learner.space,
        fingerprints={},
        stability=stability,
        provenance={
            "md5 of the catalogue": str(facts["catalogue_md5"]),
            "md5 of the meta-data set": str(facts["meta_dataset_md5"]),
            "made with": f"metaflow-hpo {facts['package_version']}, git revision {facts['git_revision']}",
            "made at": str(facts["packed_at"]),
            **_list_shipped(),
        },
    )


def _is_collected(pipeline: Pipeline) -> bool:
    """Tell whether the data folder has tasks that the learner trains on."""
    return pipeline.store.catalogue_path.is_file() and bool(pipeline.task_ids())


def _list_shipped() -> dict[str, str]:
    """Return what ships by modality: other pages show it, `report --learner NAME`."""
    return {
        f"ships of {name}": "{trials} trials on {tasks} tasks of {families} families".format(**knowledge.summary)
        for name, knowledge in open_shipped().items()
    }


def _read_fingerprints(pipeline: Pipeline, names: list[str]) -> dict[str, frozenset[str]]:
    present = [name for name in names if pipeline.store.task_path(name).is_file()]
    fingerprints = {}
    for done, name in enumerate(present, start=1):
        data = pipeline.store.read_task(name)
        modality = get_modality(data.task.modality)
        fingerprints[name] = modality.fingerprint(data) if isinstance(modality, Fingerprinting) else frozenset()
        pipeline.progress("fingerprints", done, len(present))
    return fingerprints


def _provenance(store: DataStore) -> dict[str, str]:
    files = {"catalogue": store.catalogue_path, "meta-data set": store.meta_dataset_path}
    md5s = {f"md5 of the {name}": file_md5(path) for name, path in files.items() if path.is_file()}
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return {
        **md5s,
        "made with": f"metaflow-hpo {__version__}, Python {platform.python_version()}, {packages}",
        "made at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def _read_stability(path: Path) -> pd.DataFrame:
    records = read_json(path, remedy="Give a JSON list of records, one a meta-feature.")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise InvalidTableError(f"Expected a JSON list of records in {path}; found {type(records).__name__}.")
    return pd.DataFrame(records)
