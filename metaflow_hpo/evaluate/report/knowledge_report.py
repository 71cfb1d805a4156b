"""The knowledge page: one self-contained HTML file in which people see the meta-data.

The one thing to know: it takes plain tables, from a data folder or from the shipped knowledge, and needs nothing but
itself to be read: plots are inside as SVG, and the few lines of script only sort and filter the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from metaflow_hpo.evaluate.report import knowledge_facts as facts
from metaflow_hpo.evaluate.report import knowledge_plots as plots
from metaflow_hpo.evaluate.report.knowledge_importance import TREES, measure_importance
from metaflow_hpo.evaluate.report.knowledge_suspects import FINDINGS, find_suspicious
from metaflow_hpo.evaluate.report.page import Picture, render_page
from metaflow_hpo.evaluate.tuning_evidence import summarise_forecasts
from metaflow_hpo.space import Float, Integer, SearchSpace

_LOW_NOISE = 0.5


@dataclass(frozen=True)
class KnownTables:
    """The meta-data as plain tables, and what is derived from them once.

    Attributes:
        catalogue: One line a task.
        trials: One line a trial, of all learners.
        meta_features: One line a task with `task_id`, `mf_*` and, where known, `duration_s`.
        learner: Whose trials are shown.
        space: Its search space.
        fingerprints: Column fingerprints of each task; empty leaves shared columns out.
        stability: How much meta-features move on other rows of a task; None where not measured.
        tuning: From `measure_forecasts`; None where nothing was evaluated.
        provenance: What the page is made of: name and value, such as md5s.
    """

    catalogue: pd.DataFrame
    trials: pd.DataFrame
    meta_features: pd.DataFrame
    learner: str
    space: SearchSpace
    fingerprints: Mapping[str, frozenset[str]] = field(default_factory=dict)
    stability: pd.DataFrame | None = None
    tuning: pd.DataFrame | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Derived:
    """What the page shows, as tables; see `knowledge_facts` for each."""

    tasks: pd.DataFrame
    core: pd.DataFrame
    placed: pd.DataFrame
    winners: pd.DataFrame
    noise: pd.DataFrame
    failures: pd.DataFrame
    importance: pd.DataFrame
    suspects: pd.DataFrame


def derive(knowledge: KnownTables) -> Derived:
    """Compute what the page shows.

    Raises:
        InvalidTableError: If there is no trial of the learner, or no configuration that the tasks share.
    """
    full = facts.keep_full_trials(knowledge.trials, knowledge.learner)
    core = facts.pivot_core(full)
    placed = facts.place_configurations(full, knowledge.space, list(core.columns))
    tasks = facts.summarise_tasks(knowledge.catalogue, full, knowledge.trials)
    noise = facts.measure_noise(full)
    return Derived(
        tasks=facts.add_default(tasks, core, knowledge.space),
        core=core,
        placed=placed,
        winners=facts.find_winners(core, placed),
        noise=noise,
        failures=facts.count_failures(full),
        importance=measure_importance(core, placed),
        suspects=find_suspicious(
            tasks,
            core,
            noise=noise,
            meta_features=knowledge.meta_features,
            fingerprints=knowledge.fingerprints,
        ),
    )


def render_report(knowledge: KnownTables) -> str:
    """Return the page as HTML.

    Raises:
        InvalidTableError: If there is no trial of the learner, or no configuration that the tasks share.
    """
    derived = derive(knowledge)
    return render_page(
        "knowledge_report.html",
        learner=knowledge.learner,
        facts=_count(knowledge, derived),
        tasks=derived.tasks.to_dict("records"),
        suspects=derived.suspects.to_dict("records"),
        findings=FINDINGS,
        pictures=_draw(knowledge, derived),
        stability=None if knowledge.stability is None else knowledge.stability.to_dict("split"),
        is_evaluated=knowledge.tuning is not None,
        tuning=[] if knowledge.tuning is None else summarise_forecasts(knowledge.tuning),
        provenance=knowledge.provenance,
    )


def _count(knowledge: KnownTables, derived: Derived) -> dict[str, str]:
    tasks, trials = derived.tasks, knowledge.trials
    shown = trials.loc[trials["task_id"].isin(tasks["task_id"])]
    by_learner = shown["learner"].value_counts()
    return {
        "tasks": f"{len(tasks)} of {len(knowledge.catalogue)} in the catalogue",
        "families": str(tasks["family"].nunique()),
        "simulated": str(int(tasks["simulated"].sum())),
        "trials": ", ".join(f"{count:,} {name}" for name, count in by_learner.items()),
        "shared configurations": str(derived.core.shape[1]),
        "processor time": f"{tasks['cost_s'].sum() / 3600:.2f} h",
    }


def _draw(knowledge: KnownTables, derived: Derived) -> dict[str, Picture]:
    """Draw every plot and say what one sees."""
    d, space = derived, knowledge.space
    shown = {
        "performances": (plots.plot_performances(d.tasks), _say_performances(d.tasks)),
        "effort": (plots.plot_effort(d.tasks, d.failures), _say_effort(d.tasks)),
        "winners": (plots.plot_winners(d.winners, d.placed, space), _say_winners(d.winners, space)),
        "importance": (plots.plot_importance(d.importance), _say_importance(d.importance)),
        "noise": (plots.plot_noise(d.noise, d.tasks["test_agreement"]), _say_noise(d.noise, d.tasks)),
    }
    names = facts.choose_contrasting(d.tasks, d.core)
    axes = _choose_axes(space)
    if names and axes is not None:
        figure = plots.plot_heat_maps(facts.normalise(d.core), d.placed, space, names, *axes)
        shown["heat_maps"] = (figure, _say_heat_maps(d.core, names))
    if len(d.core) > 1:
        alike = facts.correlate_tasks(d.core)
        families = dict(zip(d.tasks["task_id"], d.tasks["family"], strict=True))
        shown["likeness"] = (plots.plot_likeness(alike.loc[list(families), list(families)], families), _say_likeness())
    correlations = facts.correlate_meta_features(knowledge.meta_features, d.winners)
    if not correlations.empty:
        shown["meta_features"] = (
            plots.plot_meta_features(correlations),
            _say_meta_features(knowledge.meta_features, correlations, len(d.core)),
        )
    return {name: Picture.of(figure, caption) for name, (figure, caption) in shown.items()}


def _choose_axes(space: SearchSpace) -> tuple[str, str] | None:
    """Return the learning rate and the width, or the first two numeric hyperparameters; None where there are none."""
    numeric = [hp.name for hp in space.hyperparameters if isinstance(hp, Float | Integer) and hp.condition is None]
    if {"learning_rate", "width"} <= set(numeric):
        return "learning_rate", "width"
    return (numeric[0], numeric[1]) if len(numeric) >= 2 else None


def _say_performances(tasks: pd.DataFrame) -> str:
    numeric = tasks["kind"] == "regression"
    parts = []
    for kind, rows, metric in (
        ("classification", tasks.loc[~numeric], "balanced accuracy"),
        ("regression", tasks.loc[numeric], "R2"),
    ):
        if len(rows):
            parts.append(
                f"On the {len(rows)} {kind} tasks the best configuration of the median task reaches "
                f"{rows['best'].median():.2f} {metric}, a middling one {rows['median'].median():.2f}."
            )
    span = tasks["span"].median()
    return " ".join(parts) + f" Choosing well matters: best and worst are {span:.2f} apart on the median task."


def _say_effort(tasks: pd.DataFrame) -> str:
    clean, most = (tasks["failed_fraction"] == 0).mean(), tasks.iloc[int(tasks["failed_fraction"].argmax())]
    dear = tasks.iloc[int(tasks["cost_s"].argmax())]
    return (
        f"{clean:.0%} of the tasks have no failed trial; the most are {most['failed_fraction']:.0%} on "
        f"{most['task_id']}. The dearest task is {dear['task_id']} with {dear['cost_s']:.0f} s of "
        f"{tasks['cost_s'].sum():.0f} s in all (a trial is every fold and the refit)."
    )


def _say_heat_maps(core: pd.DataFrame, names: list[str]) -> str:
    alike = facts.correlate_tasks(core.loc[names]).to_numpy(dtype="float64")
    values = alike[np.triu_indices(len(names), 1)]
    low = f" Their rank correlations go down to {np.nanmin(values):.2f}." if np.isfinite(values).any() else ""
    normalised = facts.normalise(core)
    best = normalised.idxmax(axis=1)
    single = normalised.mean().idxmax()
    return (
        "Bright is good (0 is the task's worst tenth), the star is the best configuration, white was never tried. "
        "These tasks rank the shared configurations most differently (farthest first by rank correlation), among the "
        f"tasks with a span of at least 0.2 whose test rows agree with the cross-validation (0.7).{low} Over all "
        f"{len(core)} tasks "
        f"{best.nunique()} different configurations are best; the best single one reaches "
        f"{normalised[single].mean():.2f} of the span on average and {normalised[single].min():.2f} on its worst task."
    )


def _say_winners(winners: pd.DataFrame, space: SearchSpace) -> str:
    means = winners.groupby(level=0).mean().std().sort_values()
    numeric = {hp.name for hp in space.hyperparameters if isinstance(hp, Float | Integer) and hp.condition is None}
    named = [str(name).replace("_", " ") for name in means.index if name in numeric]
    moves = f" From task to task {named[-1]} moves most, {named[0]} least." if len(named) > 1 else ""
    return (
        f"Blue: the {facts.WINNERS} best shared configurations of every task. Black outline: all shared ones, which "
        f"is what blue would be if the hyperparameter did not matter. Red: the default.{moves}"
    )


def _say_likeness() -> str:
    return (
        "At 1 two tasks rank the configurations alike, at 0 one says nothing about the other. "
        "What transfers between tasks is what lies to the right of 0."
    )


def _say_importance(importance: pd.DataFrame) -> str:
    median = importance.median().sort_values(ascending=False).dropna()
    if len(median) < 2:
        return "Too few shared configurations to tell; at least 24 are needed."
    first, second = (str(name).replace("_", " ") for name in median.index[:2])
    return (
        f"The {first} explains {median.iloc[0]:.0%} of the ranking of the configurations on the median task, the "
        f"{second} {median.iloc[1]:.0%}; all alone sum to {importance.sum(axis=1).median():.0%}, the rest belongs to "
        f"interactions and noise. fANOVA on ranks over the shared core, {TREES} trees, one dot a task; conditional "
        "hyperparameters among the configurations that use them."
    )


def _say_noise(noise: pd.DataFrame, tasks: pd.DataFrame) -> str:
    agreement = (
        f"Cross-validated and test performance agree with a median rank correlation of "
        f"{tasks['test_agreement'].median():.2f}."
    )
    if noise.empty:
        return agreement
    loud = int((noise["noise_fraction"] > _LOW_NOISE).sum())
    return (
        f"Second seed on {len(noise)} tasks, one dot each: below the line the choice of configuration matters more "
        f"than luck. On the median task the seed makes {noise['noise_fraction'].median():.1%} of the variance; on "
        f"{loud} tasks more than half. Two seeds rank all configurations with a median correlation of "
        f"{noise['seed_correlation'].median():.2f}, the better half with {noise['top_correlation'].median():.2f}; "
        f"the winner of one seed loses {noise['luck'].median():.1%} of the span under another. {agreement}"
    )


def _say_meta_features(meta_features: pd.DataFrame, correlations: pd.DataFrame, tasks: int) -> str:
    cost = ""
    if "duration_s" in meta_features.columns:
        seconds = meta_features["duration_s"]
        cost = f"Describing a task costs {seconds.median():.2f} s (median), {seconds.max():.1f} s at most. "
    first = str(correlations.iloc[0].abs().idxmax())
    name = str(correlations.index[0]).removeprefix("mf_").replace("_", " ")
    chance = 1.96 / np.sqrt(max(tasks - 3, 1))
    return (
        f"{cost}Rank correlation over {tasks} tasks between a meta-feature and where the best configurations lie; the "
        f"strongest is {name} with {first.replace('_', ' ')} ({correlations.iloc[0][first]:+.2f}). One pair in "
        f"twenty passes +-{chance:.2f} by chance alone."
    )
