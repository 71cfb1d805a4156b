"""The gate: a candidate is promoted only if it is not worse than the incumbent and the named baselines.

It is decided on meta-validation families, paired over tasks; meta-test ones are only reported.
One veto comes from really training: all else is judged by the meta-data set, and a damaged one agrees with itself.
"""

from dataclasses import dataclass

import pandas as pd

from metaflow_hpo.collect.strategies.registry import RECOMMENDED
from metaflow_hpo.evaluate.statistics import probability_of_harm

MAX_HARM = 0.95
"""A candidate is refused when the probability that it is worse than a rival reaches this value."""
RIVALS = ("default", "random", "nearest_task", "portfolio")
KS = (1, 5, 10)
CHAMPION, SHIPPED = "champion", "shipped"
"""Names of incumbents: what is served, and before the first one what ships with the package."""


@dataclass(frozen=True)
class Incumbent:
    """Whom the candidate is compared with.

    Attributes:
        name: `champion` or `shipped`.
        regret: `task_id, k, regret` on the present tasks and shared core; None where there is no honest comparison.
        note: Why there is none; empty otherwise.
    """

    name: str
    regret: pd.DataFrame | None
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """The gate's verdict.

    Attributes:
        promoted: Whether the candidate passes.
        reason: Why, in a sentence a person can act on.
        comparisons: One line a rival: `rival, tasks, candidate, rival_regret, difference, probability_of_harm, passed`.
    """

    promoted: bool
    reason: str
    comparisons: pd.DataFrame


def decide(
    per_task: pd.DataFrame,
    incumbent: pd.DataFrame | None,
    name: str = "champion",
    realised: pd.DataFrame | None = None,
) -> Verdict:
    """Compare a candidate with the baselines and the incumbent, and its first recommendation really trained.

    Args:
        per_task: `Evaluation.per_task` of the candidate; only its meta-validation part is read.
        incumbent: `task_id, k, regret` of the incumbent on the same tasks and shared core; None where there is none.
        name: What the incumbent is called: `champion`, or `shipped` before the first one.
        realised: `compare_realised` of the candidate on held-out tasks, empty where nothing was trained; its
            cross-validated `first` and `default` are read, never a score on test rows.
    """
    validation = per_task.loc[per_task["part"] == "validation"]
    candidate = validation.loc[validation["recommender"] == RECOMMENDED]
    rivals = {name: validation.loc[validation["recommender"] == name] for name in RIVALS}
    if incumbent is not None and set(incumbent["task_id"]) & set(candidate["task_id"]):
        rivals[name] = incumbent
    comparisons = pd.DataFrame([_compare(candidate, rival, called) for called, rival in rivals.items()])
    failed = comparisons.loc[~comparisons["passed"]]
    veto = None if realised is None or realised.empty else _find_realised_harm(realised)
    if failed.empty and veto is not None:
        return Verdict(False, veto, comparisons)
    if failed.empty:
        names = ", ".join(rivals)
        return Verdict(
            True, f"Not worse than {names} at k = {', '.join(map(str, KS))} on meta-validation families.", comparisons
        )
    worst = failed.sort_values("probability_of_harm").iloc[-1]
    reason = (
        f"Worse than {worst['rival']}: mean regret {worst['candidate']:.4f} against "
        f"{worst['rival_regret']:.4f} over {worst['tasks']} meta-validation tasks "
        f"(probability of harm {worst['probability_of_harm']:.2f}, limit {MAX_HARM})."
    )
    return Verdict(False, reason, comparisons)


def _compare(candidate: pd.DataFrame, rival: pd.DataFrame, name: str) -> dict[str, object]:
    """One comparison a rival, on the mean over `KS`: a comparison for each k would refuse good candidates by chance."""
    mine, theirs = (t.loc[t["k"].isin(KS)].groupby("task_id")["regret"].mean() for t in (candidate, rival))
    tasks = mine.index.intersection(theirs.index)
    differences = (mine.loc[tasks] - theirs.loc[tasks]).to_numpy(dtype=float)
    harm = probability_of_harm(differences)
    return {
        "rival": name,
        "tasks": len(tasks),
        "candidate": float(mine.loc[tasks].mean()),
        "rival_regret": float(theirs.loc[tasks].mean()),
        "difference": float(differences.mean()),
        "probability_of_harm": harm,
        "passed": harm < MAX_HARM,
    }


def _find_realised_harm(realised: pd.DataFrame) -> str | None:
    """Say that the first recommendation, really trained, does worse than the default, or return None.

    A training that failed counts as the worst of all that did not.
    """
    both = realised[["first", "default"]]
    first, default = (both[way].fillna(both.min().min()) for way in both)
    losses = (default - first).dropna().to_numpy(dtype=float)
    harm = probability_of_harm(losses) if len(losses) else 0.0
    if harm < MAX_HARM:
        return None
    return (
        f"Its first recommendation, really trained, is {losses.mean():.4f} worse than the default over {len(losses)} "
        f"held-out tasks (probability of harm {harm:.2f}, limit {MAX_HARM}), although the meta-data set says "
        "otherwise: look for damaged trials in it."
    )
