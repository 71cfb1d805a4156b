"""The evaluation of a learner without networks: the benchmark on its own history, real trainings, and the gate.

Nothing is chosen on any of its tasks, so that all of them are both what is decided on and what is reported.
"""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metaflow_hpo.actions.plain_fit import read_history
from metaflow_hpo.actions.realised import realise
from metaflow_hpo.adapters.evaluation_files import write_results
from metaflow_hpo.adapters.pipeline import Pipeline, logger
from metaflow_hpo.adapters.trial_files import write_benchmark
from metaflow_hpo.errors import DegenerateTaskError, InvalidTableError
from metaflow_hpo.evaluate.gate import CHAMPION, RIVALS, Incumbent, decide

if TYPE_CHECKING:
    from metaflow_hpo.evaluate.benchmark import Plan
    from metaflow_hpo.history import History
    from metaflow_hpo.recommender.recommender import Recommender

KS = (1, 3, 5, 10)
SEEDS = 20
MIN_FAMILIES = 3
"""With fewer, each is judged by what a single other one teaches."""
MAX_SINGLE_FAMILIES = 30
"""More families than this are held out in folds, for the sake of time."""


def evaluate_plain(pipeline: Pipeline, candidate: dict[str, Any], recommender: "Recommender") -> dict[str, Any]:
    """Replay the history leave-family-out against the baselines and the champion, and train what is recommended.

    What was found is written and returned.

    Args:
        pipeline: The surroundings.
        candidate: What `fit` wrote down of the candidate.
        recommender: The candidate.

    Raises:
        InvalidTableError: If there are tasks of fewer than three families on which configurations differ.
    """
    from metaflow_hpo.evaluate.benchmark import Plan, describe_benchmark, run_benchmark
    from metaflow_hpo.evaluate.model_card import CardFacts, card_tags, write_card
    from metaflow_hpo.evaluate.tuning_evidence import measure_forecasts, measure_tuning, recommend_held_out
    from metaflow_hpo.recommender.strategies.recommended import FitRecommender

    everything = read_history(pipeline, pipeline.store.read_meta_dataset())
    history, degenerate = _choose(everything, pipeline.learner_name)
    folds = pipeline.settings.folds if len(set(history.families)) > MAX_SINGLE_FAMILIES else None
    plan = Plan(("recommended", *RIVALS), KS, SEEDS, folds, fit=FitRecommender.like(recommender))
    result = run_benchmark(history, plan, on_done=lambda done, total: pipeline.progress("replays", done, total))
    incumbent = _find_incumbent(pipeline, history, plan, candidate["version"])
    if incumbent.note:
        logger.info("Not compared with an incumbent. %s", incumbent.note)
    families = dict(zip(history.task_ids, history.families, strict=True))
    realised = realise(pipeline, recommender, families, partial(recommend_held_out, recommender))
    replayed = result.per_task.assign(part="validation")
    verdict = decide(replayed, incumbent.regret, incumbent.name, realised.per_task)
    tuning = measure_forecasts(recommender)
    answer = describe_benchmark(history, plan, result)
    write_benchmark(pipeline.store.evaluation_folder, answer, result, tuning, realised)
    regrets = {f"regret/{r['recommender']}_k{r['k']}": float(r["mean"]) for r in result.summary.to_dict("records")}
    results = write_results(
        pipeline.store,
        candidate,
        verdict,
        incumbent,
        degenerate,
        result.summary,
        tuning,
        realised,
        regrets | measure_tuning(tuning) | realised.numbers,
    )
    facts = CardFacts(
        name=pipeline.registry.name,
        version=candidate["version"],
        learner=pipeline.learner_name,
        past=everything,
        summary=result.summary,
        verdict=verdict,
        degenerate=degenerate,
        gains=realised.gains,
        lineage={"meta_dataset_md5": candidate["meta_dataset_md5"], "mlflow_run_id": candidate["run_id"]},
    )
    tables = {"summary": result.summary, "gains": realised.gains, "realised": realised.per_task}
    return {**results, **tables, "card": write_card(facts), "tags": card_tags(facts)}


def _choose(history: "History", learner: str) -> "tuple[History, list[str]]":
    """Return the tasks on which configurations differ, and the names of the others."""
    differ = history.best > history.worst
    chosen = history.subset(np.flatnonzero(differ))
    if not chosen.tasks:
        raise DegenerateTaskError("On every task all configurations perform the same; there is nothing to compare.")
    families = sorted(set(chosen.families))
    if len(families) < MIN_FAMILIES:
        raise InvalidTableError(
            f"Expected tasks of at least {MIN_FAMILIES} families on which configurations of {learner} differ, to judge "
            f"by some what others teach; found {families}. Search more tasks, then fit again; until then the candidate "
            "answers."
        )
    return chosen, [history.task_ids[t] for t in np.flatnonzero(~differ)]


def _find_incumbent(pipeline: Pipeline, history: "History", plan: "Plan", candidate: int) -> Incumbent:
    """Return the regret of who learns only from the champion's tasks, each task without its own family.

    Where the champion learned nothing of what earns the first place, what the candidate learned decides for it, too.
    """
    from metaflow_hpo.evaluate.replay import Contestant, HeldOut

    champion = pipeline.registry.champion()
    if champion is None:
        return Incumbent(CHAMPION, None, "There is none yet.")
    if champion.version == candidate:
        return Incumbent(CHAMPION, None, "The candidate is the champion.")
    served = pipeline.registry.load(champion.version)
    if served.space != history.space:
        return Incumbent(CHAMPION, None, "The champion is no rival: it is for another search space.")
    fit = plan.fit if served.tuning is None else replace(plan.fit, tuning=served.tuning)
    known = np.isin(history.task_ids, served.past.task_ids)
    families = np.array(history.families)
    lines = []
    for family in dict.fromkeys(history.families):
        past = np.flatnonzero(known & (families != family))
        if not len(past):
            return Incumbent(CHAMPION, None, "The champion is no rival: too few of its tasks are left.")
        judged = np.flatnonzero(families == family)
        lines.append(HeldOut(history, past).judge(Contestant("recommended", fit.make), judged, KS))
    return Incumbent(CHAMPION, pd.concat(lines, ignore_index=True))
