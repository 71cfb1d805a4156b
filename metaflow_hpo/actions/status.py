"""What is known, served and kept where: the answer of `metaflow-hpo status`."""

from typing import Any

from metaflow_hpo.adapters.knowledge import count_trials, open_shipped
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.versioning import data_md5


def read_status(pipeline: Pipeline) -> dict[str, Any]:
    """Return what is known and served, as in the CLI's contract.

    Raises:
        InvalidTableError: If a file of the shipped knowledge is missing or damaged.
    """
    store, champion = pipeline.store, pipeline.registry.champion()
    names = ("name", "version", "metrics")
    return {
        "knowledge": _summarise_knowledge(pipeline),
        "champion": None if champion is None else {name: getattr(champion, name) for name in names},
        "shipped": _describe_shipped(pipeline),
        "modalities": _describe_modalities(pipeline),
        "data": {
            "folder": str(store.data),
            "tasks": len(list(store.data.glob("tasks/[!.]*"))),
            "search_results": len(list(store.data.glob("search_results/*.parquet"))),
            "meta_features": len(list(store.data.glob("meta_features/*.parquet"))),
            "tracking_uri": pipeline.tracking.address,
        },
    }


def _describe_modalities(pipeline: Pipeline) -> dict[str, Any]:
    """Return how much ships of each modality, its files compared with their md5s, and how many tasks are here."""
    catalogue = pipeline.store.catalogue_path
    local: dict[Any, int] = {}
    if catalogue.is_file():
        local = pipeline.store.read_catalogue()["modality"].value_counts().to_dict()
    shipped = open_shipped()
    described = {}
    for name in dict.fromkeys([*shipped, *local]):
        knowledge = shipped.get(name)
        counts = None
        if knowledge is not None:
            knowledge.verify()
            counts = {**knowledge.summary, "bytes": knowledge.provenance["bytes"]}
        described[str(name)] = {"shipped": counts, "local_tasks": int(local.get(name, 0))}
    return described


def _summarise_knowledge(pipeline: Pipeline) -> dict[str, Any]:
    """Count the local meta-data set, or else the shipped one; `source` says which: `local`, `shipped` or `none`."""
    store = pipeline.store
    if store.meta_dataset_path.is_file():
        md5 = data_md5(store.meta_dataset_path)
        return {**count_trials(store.read_meta_dataset()), "meta_dataset_md5": md5, "source": "local"}
    if pipeline.knowledge is not None:
        return {**pipeline.knowledge.summary, "source": "shipped"}
    return {"tasks": 0, "families": 0, "trials": 0, "learners": {}, "meta_dataset_md5": None, "source": "none"}


def _describe_shipped(pipeline: Pipeline) -> dict[str, Any] | None:
    """Return the provenance of the shipped knowledge, its files compared with their md5s."""
    if pipeline.knowledge is None:
        return None
    pipeline.knowledge.verify()
    return {"version": pipeline.knowledge.version, **pipeline.knowledge.provenance}
