"""Which searches a task gets, by the settings; `collect.plans` runs them."""

from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.collect.plans import Plan
from metaflow_hpo.collect.strategies.registry import ANCHORS, SOBOL
from metaflow_hpo.learners.learner import anchors_of


def plan_searches(pipeline: Pipeline, sha256: str) -> Plan:
    """Return the searches of a task: the shared core, random search and TPE; its digest says if the core is repeated.

    Args:
        pipeline: Its settings say how many trials of each there are, and of how many tasks the core is repeated; the
            anchors of its learner belong to the core.
        sha256: Digest of the task's content.
    """
    settings, anchors = pipeline.settings, anchors_of(pipeline.learner)
    seed = settings.seed
    core = [(ANCHORS, 1 + len(anchors))] * bool(anchors) + [(SOBOL, settings.core_trials)]
    plan = [(name, count, seed) for name, count in core]
    plan += [("random", settings.random_trials, seed), ("tpe", settings.tpe_trials, seed)]
    if settings.repeat_every and int(sha256[8:16], 16) % settings.repeat_every == 0:
        plan += [(name, count, seed + 1) for name, count in core]
    return [search for search in plan if search[1] > 0]
