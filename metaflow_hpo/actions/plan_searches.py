"""Which searches a task gets, by the settings; `collect.plans` runs them."""

from metaflow_hpo.collect.plans import Plan
from metaflow_hpo.settings import Settings


def plan_searches(settings: Settings, sha256: str) -> Plan:
    """Return the searches of a task: the shared core, random search and TPE; its digest says if the core is repeated.

    Args:
        settings: How many trials of each, and of how many tasks the core is repeated.
        sha256: Digest of the task's content.
    """
    seed = settings.seed
    plan = [
        ("sobol", settings.core_trials, seed),
        ("random", settings.random_trials, seed),
        ("tpe", settings.tpe_trials, seed),
    ]
    if settings.repeat_every and int(sha256[8:16], 16) % settings.repeat_every == 0:
        plan.append(("sobol", settings.core_trials, seed + 1))
    return [search for search in plan if search[1] > 0]
