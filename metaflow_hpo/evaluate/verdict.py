"""What a benchmark says, in sentences: does learning from other tasks help on this table, and does a simpler way do?

"Clearly" always means the tests of the comparison table (Wilcoxon, Holm over all pairs); with a
few tasks nothing can be clear, which the verdict says as well.
"""

from collections.abc import Iterable, Mapping

import pandas as pd

from metaflow_hpo.collect.strategies.registry import ABLATIONS, RECOMMENDED, SEARCHING
from metaflow_hpo.evaluate.comparison import compare_with_recommended
from metaflow_hpo.evaluate.statistics import TIE

FEW_TASKS = 10
"""Below this many tasks hardly any difference passes the tests."""
_FINDINGS = (
    "clearly lower",
    "lower, but not told apart from all of them,",
    "no lower",
    "clearly higher than somebody's",
)

Means = Mapping[str, Mapping[int, float]]
"""Mean regret by recommender and k."""
Verdicts = Mapping[tuple[str, int], str]
"""What the tests say of `recommended`, by rival and k: better, worse or not told apart."""


def say_verdict(per_task: pd.DataFrame) -> list[str]:
    """Return the verdict, the answer first.

    Args:
        per_task: `task_id, recommender, k, regret`, as a benchmark returns it.

    Returns:
        Sentences; none where `recommended` was not run, or nothing but its ablations beside it.
    """
    lines = per_task.loc[~per_task["recommender"].isin(list(ABLATIONS))]
    means: dict[str, dict[int, float]] = {}
    for (name, k), regret in lines.groupby(["recommender", "k"], sort=False)["regret"]:
        means.setdefault(str(name), {})[int(str(k))] = float(regret.mean())
    if RECOMMENDED not in means or len(means) < 2:
        return []
    compared = compare_with_recommended(lines).to_dict("records")
    verdicts = {(str(c["rival"]), int(c["k"])): str(c["verdict"]) for c in compared}
    said = [*_say_help(means, verdicts), *_say_random(means), *_say_simpler(means, verdicts)]
    tasks = lines["task_id"].nunique()
    if tasks < FEW_TASKS:
        said.append(f"With {tasks} tasks hardly anything can be shown: take this as a hint, and add tasks.")
    return said


def _say_help(means: Means, verdicts: Verdicts) -> list[str]:
    """Answer the question: `recommended` against those that learn nothing from other tasks, at each k."""
    fresh = [name for name in SEARCHING if name in means]
    if not fresh:
        return []
    lower, unclear, no_lower, higher = _FINDINGS
    found: dict[str, list[int]] = {finding: [] for finding in _FINDINGS}
    numbers = []
    for k, mine in means[RECOMMENDED].items():
        best = min(fresh, key=lambda name: means[name][k])
        numbers.append(f"{mine:.3f} against {means[best][k]:.3f} ({_name(best)}) {_at([k])}")
        said = {verdicts[name, k] for name in fresh}
        if "worse" in said:
            found[higher].append(k)
        elif said == {"better"}:
            found[lower].append(k)
        else:
            found[unclear if mine < means[best][k] else no_lower].append(k)
    if found[higher]:
        answer = "Not everywhere." if found[lower] else "No."
    else:
        answer = "Yes." if found[lower] else "Not shown."
    parts = "; ".join(f"{finding} {_at(ks)}" for finding, ks in found.items() if ks)
    return [
        f"{answer} Against those who learn nothing from other tasks the recommender's mean regret is {parts}.",
        f"Against the best of them: {'; '.join(numbers)}.",
    ]


def _say_random(means: Means) -> list[str]:
    """Say how many random trials `recommended`'s first ones are worth."""
    if "random" not in means:
        return []
    ks, said = list(means["random"]), []
    for k in ks[:2]:
        above = [n for n in ks if means["random"][n] > means[RECOMMENDED][k]]  # random regret falls with k
        if len(above) == len(ks):
            worth = f"more than {ks[-1]}"
        else:
            worth = f"between {above[-1]} and {ks[len(above)]}" if above else f"no more than {ks[0]}"
        said.append(
            f"{'its first trial' if k == 1 else f'the best of its first {k}'} is worth {worth} by random search"
        )
    return [f"Counted in trials, {' and '.join(said)}."]


def _say_simpler(means: Means, verdicts: Verdicts) -> list[str]:
    """Name everyone else who learns from other tasks and has a lower mean somewhere: a simpler way may do."""
    learners = [name for name in means if name not in {RECOMMENDED, *SEARCHING}]
    ahead = []
    for name in learners:
        ks = [k for k, mine in means[RECOMMENDED].items() if means[name][k] < mine - TIE]
        sure = [k for k in ks if verdicts[name, k] == "worse"]
        if ks:
            ahead.append(f"{_name(name)} {_at(ks)}" + (f" (clearly {_at(sure)})" if sure else ""))
    if ahead:
        return [f"Others who learn from other tasks have a lower mean regret: {'; '.join(ahead)}."]
    return ["None of the others who learn from other tasks has a lower mean regret at any k."] if learners else []


def _at(ks: Iterable[int]) -> str:
    return f"at k = {', '.join(map(str, ks))}"


def _name(name: str) -> str:
    return name.replace("_", " ")
