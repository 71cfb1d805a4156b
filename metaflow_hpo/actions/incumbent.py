"""Whom a candidate must not be worse than: the champion, or before the first one what ships with the package.

The one thing to know: an incumbent is judged like the candidate, on every task by networks that were not trained on
its family. What ships names tasks by the digest of their rows; of any other task it is not known whether a relative
was trained on, so those are left out, and where too few are left the reason is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.evaluate.gate import CHAMPION, SHIPPED, Incumbent

if TYPE_CHECKING:
    from metaflow_hpo.history import History
    from metaflow_hpo.recommender.recommender import Recommender
    from metaflow_hpo.recommender.tuning import TuningEvidence

MIN_TASKS = 5
"""Fewer tasks of both cannot tell two recommenders apart."""


def find_incumbent(
    pipeline: Pipeline, meta: "History", candidate: int, tuning: "TuningEvidence | None" = None
) -> Incumbent:
    """Return the incumbent's regret on the present tasks.

    Args:
        pipeline: The surroundings.
        meta: The candidate's tasks on their shared core.
        candidate: Version of the candidate.
        tuning: What decides whether the candidate's recommendation comes before the default. It decides for a champion
            that learned none as well: to be cautious costs regret, and is no difference between what they know.
    """
    champion = pipeline.registry.champion()
    if champion is None:
        return _judge_shipped(pipeline, meta)
    if champion.version == candidate:
        return Incumbent(CHAMPION, None, "The candidate is the champion.")
    served = pipeline.registry.load(champion.version)
    served = served if served.tuning is not None else replace(served, tuning=tuning)
    obstacle = find_mismatch(pipeline, served, meta)
    if obstacle:
        return Incumbent(CHAMPION, None, f"The champion is no rival: {obstacle}")
    families = dict(zip(meta.task_ids, meta.families, strict=True))
    # A task that it knows goes by the family that it knows: a newcomer may have merged families since.
    families |= {t: f for t, f in zip(served.past.task_ids, served.past.families, strict=True) if t in families}
    known = replace(meta, tasks=tuple(replace(task, family=families[task.task_id]) for task in meta.tasks))
    return Incumbent(CHAMPION, judge(served, known, known, families))


def find_mismatch(pipeline: Pipeline, served: "Recommender", meta: "History") -> str:
    """Say why a recommender is none for these tasks: learner, search space or meta-features; empty where it is one."""
    if served.learner != pipeline.learner.name:
        return f"it is for the learner {served.learner}."
    if served.space != meta.space:
        return "it is for another search space."
    return "" if served.meta_feature_names == meta.meta_feature_names else "it is for other meta-features."


def _judge_shipped(pipeline: Pipeline, meta: "History") -> Incumbent:
    from metaflow_hpo.recommender.recommender import Recommender

    knowledge, learner = pipeline.knowledge, pipeline.learner
    folder = None if knowledge is None else knowledge.recommender_folder(learner.name)
    if knowledge is None or folder is None:
        return Incumbent(SHIPPED, None, f"Nothing ships for the learner {learner.name}.")
    served = Recommender.load(folder)
    if pipeline.epochs != learner.fidelity.maximum:
        obstacle = f"it predicts trials of {learner.fidelity.maximum} epochs, these are of {pipeline.epochs}."
    else:
        obstacle = find_mismatch(pipeline, served, meta)
    if not obstacle and not set(meta.configuration_ids) <= set(served.history.configuration_ids):
        obstacle = "it knows other configurations than the shared core."
    families = {} if obstacle else _known_tasks(pipeline, meta, knowledge.read_catalogue())
    if not obstacle and len(families) < MIN_TASKS:
        obstacle = f"of only {len(families)} tasks it is known whether it was trained on a relative."
    if obstacle:
        return Incumbent(SHIPPED, None, f"What ships with the package is no rival: {obstacle}")
    rows = [t for t, task_id in enumerate(meta.task_ids) if task_id in families]
    return Incumbent(SHIPPED, judge(served, meta.subset(rows), _reorder(served.history, meta), families))


def _known_tasks(pipeline: Pipeline, meta: "History", shipped: pd.DataFrame) -> dict[str, str]:
    """Return the shipped family of each present task that has the very rows of a shipped one."""
    if not pipeline.store.catalogue_path.is_file():
        return {}
    present = pipeline.store.read_catalogue().set_index("task_id")["sha256"]
    family_of = dict(zip(shipped["sha256"], shipped["family"], strict=True))
    digests = {task_id: present.get(task_id) for task_id in meta.task_ids}
    return {task_id: str(family_of[sha256]) for task_id, sha256 in digests.items() if sha256 in family_of}


def _reorder(past: "History", meta: "History") -> "History":
    """Return shipped tasks on the present shared core, its configurations in the present order."""
    position = {name: i for i, name in enumerate(past.configuration_ids)}
    return past.on([position[name] for name in meta.configuration_ids])


def judge(served: "Recommender", meta: "History", known: "History", families: Mapping[str, str]) -> pd.DataFrame:
    """Return the regret on each task of `meta`, by networks that were not trained on its family.

    Args:
        served: Whom to judge.
        meta: The tasks to judge on.
        known: The past tasks it may lean on, on the same configurations.
        families: Family of each task of `meta`, as `served` calls it.
    """
    from metaflow_hpo.collect.strategies.registry import RECOMMENDED
    from metaflow_hpo.evaluate.evaluation import KS, recall
    from metaflow_hpo.evaluate.replay import Contestant
    from metaflow_hpo.recommender.strategies.recommended import RecommendedStrategy

    surrogate = served.require_surrogate()
    folds, count = surrogate.fold_of_family, len(surrogate.networks)
    replayed = recall(meta, None)
    lines = []
    contestants: dict[tuple[tuple[int, ...], tuple[int, ...]], Contestant] = {}  # few: one a fold
    for t, task_id in enumerate(meta.task_ids):
        family = families[task_id]
        networks = surrogate.networks_blind_to(family, validation=True)
        # As for the candidate: neither the validated fold nor the meta-test fold of the network that is asked.
        hidden = {folds[family], (folds[family] - 1) % count} if family in folds else set()
        visible = _visible(known.families, family, folds, hidden)
        if (networks, visible) not in contestants:
            blind = _without(served, known.subset(visible), networks)
            contestants[networks, visible] = Contestant(RECOMMENDED, partial(RecommendedStrategy, blind))
        lines.append(replayed.judge(contestants[networks, visible], [t], KS))
    return pd.concat(lines, ignore_index=True)


def _without(served: "Recommender", known: "History", networks: tuple[int, ...]) -> "Recommender":
    """Return the recommender that leans on fewer past tasks; one that was fitted without a forest gets none."""
    from metaflow_hpo.recommender.task_forest import TaskForest

    has_forest = served.fitted_forest.share > 0
    forest = None if has_forest else TaskForest.without_say(len(known.task_ids))
    tuning = None if served.tuning is None else served.tuning.of(known.task_ids)
    return replace(served, past=known.past_tasks(), networks=networks, forest=forest, tuning=tuning)


def _visible(families: Sequence[str], family: str, folds: Mapping[str, int], hidden: set[int]) -> tuple[int, ...]:
    return tuple(i for i, other in enumerate(families) if other != family and folds.get(other) not in hidden)
