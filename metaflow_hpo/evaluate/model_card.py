"""The model card of a surrogate: what it learned from, how good it is, and when not to trust it, as Markdown.

The one thing to know: every number is measured on families that the asked networks never saw; none is typed in by hand.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from metaflow_hpo.evaluate.calibration import COVERAGE
from metaflow_hpo.evaluate.gate import Verdict
from metaflow_hpo.evaluate.realised import RIVALS
from metaflow_hpo.history import History

MAX_LENGTH = 4000
"""MLflow keeps 5,000 characters of a description."""

_KS = (1, 3, 5, 10)
_SHOWN = ("recommended", "portfolio", "nearest_task", "default", "random")


@dataclass(frozen=True)
class CardFacts:
    """What a card is made from.

    Attributes:
        name: Name of the registered model.
        version: Its version.
        learner: The learner that is tuned.
        past: The tasks it was trained on.
        summary: `summarise` of the evaluation: mean regret with its interval, one line a (recommender, k).
        verdict: The gate's verdict.
        degenerate: Tasks left out, as all configurations perform alike on them.
        lineage: `meta_dataset_md5`, `git_revision`, `mlflow_run_id`.
        gains: `summarise_realised`: gains in test performance, one line a (way, rival); None where nothing was trained.
        covered: Share of outcomes inside the interval, by held-out task; empty where that was not measured.
        error: Mean absolute error of what is expected of recommended configurations on held-out tasks.
    """

    name: str
    version: int
    learner: str
    past: History
    summary: pd.DataFrame
    verdict: Verdict
    degenerate: Sequence[str]
    lineage: Mapping[str, str]
    gains: pd.DataFrame | None = None
    covered: Mapping[str, float] = field(default_factory=dict)
    error: float = math.nan


def write_card(facts: CardFacts) -> str:
    """Return the card, at most `MAX_LENGTH` characters."""
    parts = [
        f"# {facts.name}, version {facts.version}",
        f"Recommends which configurations of `{facts.learner}` to try first on a new task.",
        _describe_data(facts),
        _describe_regret(facts.summary),
        *([] if facts.gains is None or facts.gains.empty else [_describe_gains(facts.gains)]),
        *([_describe_calibration(facts.covered, facts.error)] if facts.covered else []),
        _describe_gate(facts.verdict),
        _describe_limits(facts.past),
        "## Lineage\n" + "\n".join(f"- {name}: `{value}`" for name, value in sorted(facts.lineage.items())),
    ]
    text = "\n\n".join(parts) + "\n"
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 4] + "...\n"


def card_tags(facts: CardFacts) -> dict[str, str]:
    """Return what makes versions easy to compare in a list: the same few numbers on each."""
    regret = {(row["recommender"], row["k"]): row["mean"] for row in facts.summary.to_dict("records")}
    tags = {f"regret.k{k}": f"{regret['recommended', k]:.4f}" for k in (1, 5) if ("recommended", k) in regret}
    tags |= {f"regret.portfolio.k{k}": f"{regret['portfolio', k]:.4f}" for k in (1, 5) if ("portfolio", k) in regret}
    if facts.covered:
        tags["coverage_80"] = f"{_mean(facts.covered):.3f}"
        tags["prediction_error"] = f"{facts.error:.4f}"
    tags["learner"] = facts.learner
    tags["tasks"], tags["families"] = str(len(facts.past.task_ids)), str(len(set(facts.past.families)))
    tags["gate"] = "passed" if facts.verdict.promoted else "refused"
    return tags


def _mean(covered: Mapping[str, float]) -> float:
    return sum(covered.values()) / max(len(covered), 1)


def _describe_data(facts: CardFacts) -> str:
    past, members = facts.past, Counter(facts.past.families)
    largest = ", ".join(f"{family} ({count})" for family, count in members.most_common(3) if count > 1)
    left_out = (
        f" Left out, as all configurations perform alike: {', '.join(facts.degenerate)[:200]}."
        if facts.degenerate
        else ""
    )
    shared = " that all of them have tried" if past.is_shared else ""
    return (
        f"## Data\n{len(past.task_ids)} tasks of {len(members)} families"
        f"{f', the largest {largest}' if largest else ''}; {len(past.configurations)} configurations{shared}; "
        f"{len(past.meta_feature_names)} meta-features, from training rows only.{left_out}"
    )


def _describe_regret(summary: pd.DataFrame) -> str:
    known = {(str(row["recommender"]), int(row["k"])): row for row in summary.to_dict("records")}
    ks = [k for k in _KS if ("recommended", k) in known]
    tasks = next((int(row["tasks"]) for row in known.values()), 0)
    lines = [
        f"## Regret on held-out families\nMean normalised regret over {tasks} tasks, 0 is best; 95 % intervals.\n",
        f"| recommender | {' | '.join(f'best of {k}' for k in ks)} |",
        f"|---|{'---|' * len(ks)}",
    ]
    for name in _SHOWN:
        cells = [known.get((name, k)) for k in ks]
        if all(cells):
            texts = [f"{c['mean']:.3f} ({c['low']:.3f} to {c['high']:.3f})" for c in cells if c]
            lines.append(f"| {name.replace('_', ' ')} | {' | '.join(texts)} |")
    return "\n".join(lines)


def _describe_gains(gains: pd.DataFrame) -> str:
    chosen = gains.loc[gains["way"] == "first"].to_dict("records")
    lines = [
        f"- over {RIVALS[row['rival']]}: {row['mean_gain']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}); "
        f"{row['wins']} wins, {row['ties']} ties, {row['losses']} losses"
        for row in chosen
    ]
    return "## Gain in test performance\nThe first recommendation, really trained with a fresh seed:\n" + "\n".join(
        lines
    )


def _describe_calibration(covered: Mapping[str, float], error: float) -> str:
    return (
        f"## Calibration\nIntervals of nominal {COVERAGE:.0%} covered {_mean(covered):.0%} of the outcomes on "
        f"{len(covered)} held-out tasks. The expected performance is off by {error:.3f} on average."
    )


def _describe_gate(verdict: Verdict) -> str:
    word = "Passed" if verdict.promoted else "Refused"
    lines = [
        f"- {row['rival']}: difference {row['difference']:+.4f}, probability of harm {row['probability_of_harm']:.2f}"
        for row in verdict.comparisons.to_dict("records")
    ]
    return f"## Gate\n{word}. {verdict.reason}\n" + "\n".join(lines)


def _describe_limits(past: History) -> str:
    return (
        "## Limits\n"
        f"- It knows tasks like its {len(past.task_ids)} past ones. A task farther away than "
        "95 % of past tasks are from each other gets the default and what complements it best, with wider intervals.\n"
        "- It recommends only configurations that were tried, which need not hold a task's optimum.\n"
        "- It ranks by validation performance; time, memory and fairness are not considered.\n"
        "- Where configurations differ by less than the noise of training, its order means nothing."
    )
