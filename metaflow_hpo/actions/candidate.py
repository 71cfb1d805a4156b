"""The version that was fitted last: what it was fitted on, and where it is registered."""

from typing import Any

from metaflow_hpo.adapters.files import read_json
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.errors import MetaflowHPOError


def find_candidate(pipeline: Pipeline) -> dict[str, Any] | None:
    """Return the candidate: `version, run_id, meta_dataset_md5, metrics, ...`; None where nothing was fitted yet."""
    path = pipeline.store.candidate_path
    if not path.is_file() or not pipeline.store.surrogate_folder.is_dir():
        return None
    return dict(read_json(path))


def read_candidate(pipeline: Pipeline) -> dict[str, Any]:
    """Return the candidate, see `find_candidate`.

    Raises:
        MetaflowHPOError: If nothing was fitted yet.
    """
    candidate = find_candidate(pipeline)
    if candidate is None:
        raise MetaflowHPOError(
            f"Expected a surrogate in {pipeline.store.surrogate_folder}; run `metaflow-hpo fit` first."
        )
    return candidate
