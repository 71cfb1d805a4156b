"""Where a fit starts: from scratch, or from the networks of an earlier version where only tasks were added.

The one thing to know: networks may be trained on only if nothing they saw has changed, not even the family of a task;
otherwise a network could have seen what it is later judged on. Every reason to start from scratch is said.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metaflow_hpo.actions.incumbent import find_mismatch
from metaflow_hpo.actions.lineage import read_inputs
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.versioning import file_md5

if TYPE_CHECKING:
    from metaflow_hpo.history import History
    from metaflow_hpo.recommender.recommender import Recommender
    from metaflow_hpo.surrogate.fit import WarmStart

SCRATCH = "scratch"
MAX_NEW_FRACTION = 0.25
"""With more new tasks for each known one the networks know too little to go on from, and a full fit costs little."""
_SHOWN = 5


@dataclass(frozen=True)
class Start:
    """Where a fit starts.

    Attributes:
        version: The version whose networks are trained on; None from scratch.
        reason: Why, a sentence.
        warm: These networks and the tasks they know; None from scratch.
    """

    version: int | None
    reason: str
    warm: "WarmStart | None" = None

    @property
    def name(self) -> str:
        """`scratch`, or `version <n>`."""
        return SCRATCH if self.version is None else f"version {self.version}"


def choose_start(pipeline: Pipeline, trials: "History", *, incremental: bool) -> Start:
    """Decide where a fit starts.

    Args:
        pipeline: The surroundings; the setting `refit_from` names a version and wins.
        trials: What is trained on.
        incremental: Whether to go on from the champion.

    Raises:
        MetaflowHPOError: If `refit_from` names a version that is not registered.
    """
    from metaflow_hpo.surrogate.fit import WarmStart

    version = pipeline.settings.refit_from
    if version is None and incremental:
        champion = pipeline.registry.champion()
        if champion is None:
            return Start(None, "From scratch: there is no champion to go on from.")
        version = champion.version
    if version is None:
        return Start(None, "From scratch, as asked for.")
    served = pipeline.registry.load(version)
    obstacle = _find_other_shape(pipeline, served, trials) or _find_change(pipeline, version, served, trials)
    if obstacle is not None:
        return Start(None, f"From scratch, not from version {version}: {obstacle}")
    fresh = sorted(set(trials.task_ids) - set(served.past.task_ids))
    if not 0 < len(fresh) <= MAX_NEW_FRACTION * len(served.past.task_ids):
        counts = f"{len(fresh)} tasks are new beside {len(served.past.task_ids)} known ones"
        return Start(None, f"From scratch, not from version {version}: {counts}.")
    reason = f"Trained on from version {version}; new tasks: {', '.join(fresh[:_SHOWN])} ({len(fresh)} in all)."
    return Start(version, reason, WarmStart(served.require_surrogate(), frozenset(served.past.task_ids)))


def _find_other_shape(pipeline: Pipeline, served: "Recommender", trials: "History") -> str | None:
    """Say why the networks do not fit, or return None."""
    from metaflow_hpo.surrogate.fit import FitSettings
    from metaflow_hpo.surrogate.splits import assign_folds

    mismatch = find_mismatch(pipeline, served, trials)
    if mismatch:
        return mismatch
    surrogate = served.require_surrogate()
    if surrogate.networks[0].shape.members != FitSettings().members:
        return "its networks have another shape."
    folds = len(set(assign_folds(trials.families, pipeline.settings.folds).values()))
    return None if len(surrogate.networks) == folds else f"it has {len(surrogate.networks)} folds instead of {folds}."


def _find_change(pipeline: Pipeline, version: int, served: "Recommender", trials: "History") -> str | None:
    """Say what the networks have seen that is no longer so, or return None."""
    past, families = served.past, dict(zip(trials.task_ids, trials.families, strict=True))
    gone = sorted(set(past.task_ids) - set(families))
    if gone:
        return f"{len(gone)} of its tasks are gone: {', '.join(gone[:_SHOWN])}."
    moved = [t for t, family in zip(past.task_ids, past.families, strict=True) if families[t] != family]
    if moved:
        return f"{len(moved)} of its tasks belong to other families now: {', '.join(moved[:_SHOWN])}."
    inputs = read_inputs(pipeline, str(pipeline.registry.version(version).run_id))
    if inputs is None:
        return "it is not recorded what it was trained on."
    known = {str(line["task_id"]): line for line in inputs["tasks"]}
    changed = [task_id for task_id in past.task_ids if not _is_same(pipeline, known.get(task_id), task_id)]
    return f"{len(changed)} of its tasks have other trials: {', '.join(changed[:_SHOWN])}." if changed else None


def _is_same(pipeline: Pipeline, line: dict[str, Any] | None, task_id: str) -> bool:
    """Tell whether trials and meta-features of a task are the files that were trained on."""
    store = pipeline.store
    now = {"search_results": store.search_results_path(task_id), "meta_features": store.meta_features_path(task_id)}
    return line is not None and all(
        path.is_file() and line[name]["md5"] == file_md5(path) for name, path in now.items()
    )
