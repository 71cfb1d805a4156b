"""What the meta-data say about themselves, as tables: tasks, the shared core, noise, winners, meta-features.

The one thing to know: a failed trial counts as the worst of its task, and a copy of a trial under another strategy's
name is the same training. Only trials of a different seed tell anything about noise.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import MIN_SPAN
from metaflow_hpo.metric import Metric
from metaflow_hpo.space import SearchSpace, configuration_id
from metaflow_hpo.tables import read_configuration

WINNERS = 5
"""How many of the best configurations of a task stand for "where the best one is": one alone is mostly luck."""

_MIN_PAIRS = 8
_NOISE = (
    "task_id",
    "configurations",
    "noise_sd",
    "spread_sd",
    "noise_fraction",
    "seed_correlation",
    "top_correlation",
    "luck",
)


def keep_full_trials(trials: pd.DataFrame, learner: str) -> pd.DataFrame:
    """Return the trials of a learner at the highest fidelity each task has.

    Raises:
        InvalidTableError: If there is none.
    """
    rows = trials.loc[trials["learner"] == learner]
    if rows.empty:
        raise InvalidTableError(
            f"No trial of the learner {learner!r}; there are trials of {sorted(trials['learner'].unique())}. "
            "Name one of these, or search the tasks first."
        )
    return rows.loc[rows["fidelity_epochs"] == rows.groupby("task_id")["fidelity_epochs"].transform("max")]


def summarise_tasks(catalogue: pd.DataFrame, full: pd.DataFrame, all_trials: pd.DataFrame) -> pd.DataFrame:
    """Put what the catalogue and the trials say about each task on one line.

    Args:
        catalogue: One line a task.
        full: Trials of one learner at full fidelity, see `keep_full_trials`; performances are read from these.
        all_trials: All trials, of any learner and fidelity; what they cost is counted.

    Returns:
        The tasks of `catalogue` with trials in `full`, sorted by name: the columns of the catalogue, then `trials`,
        `worst`, `q25`, `median`, `q75`, `best`, `span` (performance, failed ones left out), `floor` (what guessing
        scores; NaN where the metric does not tell), `skill` ((best - floor) / (highest - floor)),
        `failed_fraction`, `optimism` (cross-validated minus test performance of the best tenth), `test_agreement` (rank
        correlation of cross-validated and test performance), `trainings` (of any learner and fidelity, copies left
        out) and `cost_s`, what these took together.
    """
    groups = full.groupby("task_id")
    ok = full.loc[full["status"] == "ok"].groupby("task_id")["performance"]
    quantiles = {"worst": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "best": 1.0}
    facts = pd.DataFrame({"trials": groups.size()})
    for name, quantile in quantiles.items():
        facts[name] = ok.quantile(quantile)
    facts["failed_fraction"] = groups["status"].agg(lambda status: float((status == "failed").mean()))
    facts["test_agreement"] = pd.Series(
        {task: _rank_correlation(rows["performance"], rows["test_performance"]) for task, rows in groups}, dtype=float
    )
    facts["optimism"] = pd.Series({task: _measure_optimism(rows) for task, rows in groups}, dtype=float)
    trained = all_trials.drop_duplicates(["task_id", "learner", "configuration_id", "seed", "fidelity_epochs"])
    facts["trainings"] = trained.groupby("task_id").size()
    facts["cost_s"] = trained.groupby("task_id")["duration_s"].sum()
    known = catalogue.loc[catalogue["task_id"].isin(facts.index)].sort_values("task_id", ignore_index=True)
    tasks = known.merge(facts, left_on="task_id", right_index=True, validate="one_to_one")
    tasks["span"] = tasks["best"] - tasks["worst"]
    metrics = [Metric.read(str(text)) for text in tasks["metric"]]
    guessing = [metric.guessing(int(classes)) for metric, classes in zip(metrics, tasks["classes"], strict=True)]
    tasks["floor"] = pd.Series(guessing, tasks.index, dtype="float64")
    highest = pd.Series([metric.highest for metric in metrics], tasks.index, dtype="float64").replace(np.inf, np.nan)
    tasks["skill"] = (tasks["best"] - tasks["floor"]) / (highest - tasks["floor"])
    return tasks


def add_default(tasks: pd.DataFrame, core: pd.DataFrame, space: SearchSpace) -> pd.DataFrame:
    """Append `default`, the performance of the default configuration; NaN where it was not tried or not on the core."""
    name = configuration_id(space.default)
    found = core[name] if name in core.columns else pd.Series(dtype=float)
    return tasks.assign(default=tasks["task_id"].map(found).to_numpy(dtype="float64"))


def pivot_core(full: pd.DataFrame, min_fraction: float = 0.9) -> pd.DataFrame:
    """Return the performance of the shared core: configurations that were tried on nearly every task.

    Args:
        full: Trials of one learner at full fidelity.
        min_fraction: Share of the tasks on which a configuration must have been tried.

    Returns:
        `(T, C)`, tasks by configuration ids in the order of their first appearance; seeds are averaged, failed trials
        are the worst of their task, NaN = never tried.

    Raises:
        InvalidTableError: If there is no such configuration.
    """
    worst = full.groupby("task_id")["performance"].transform("min")
    rows = full.assign(performance=full["performance"].fillna(worst).fillna(0.0))
    wide = rows.pivot_table(index="task_id", columns="configuration_id", values="performance", aggfunc="mean")
    shared = set(wide.columns[wide.notna().mean() >= min_fraction])
    if not shared:
        raise InvalidTableError(
            f"Expected configurations that were tried on {min_fraction:.0%} of the {len(wide)} tasks; found none. "
            "Search every task with the strategy `sobol`, which proposes the same ones everywhere."
        )
    return wide[[name for name in full["configuration_id"].drop_duplicates() if name in shared]]


def normalise(core: pd.DataFrame) -> pd.DataFrame:
    """Scale each task's row of the core to [0, 1]; a task on which nothing differs is 0 everywhere."""
    low, high = core.min(axis=1), core.max(axis=1)
    return core.sub(low, axis=0).div((high - low).where(high > low, 1.0), axis=0)


def correlate_tasks(core: pd.DataFrame) -> pd.DataFrame:
    """Return the rank correlation of each pair of tasks over the core `(T, T)`; NaN where a task never varies."""
    return core.T.corr(method="spearman", min_periods=_MIN_PAIRS)


def choose_contrasting(tasks: pd.DataFrame, core: pd.DataFrame, count: int = 6) -> list[str]:
    """Choose tasks whose configurations rank as differently as possible, among those that can be trusted.

    The first two are the pair with the lowest rank correlation over the core; each further one has the lowest highest
    correlation with those before. Tasks of noise agree with nothing and would always win: only tasks with a span of at
    least ten times `MIN_SPAN` whose test performance agrees with the cross-validated one (0.7) take part.

    Args:
        tasks: From `summarise_tasks`.
        core: From `pivot_core`.
        count: How many.

    Returns:
        At most `count` names; fewer where fewer tasks can be trusted.
    """
    trusted = tasks.loc[(tasks["span"] >= 10 * MIN_SPAN) & (tasks["test_agreement"] >= 0.7), "task_id"]
    names = [name for name in trusted if name in core.index]
    if len(names) <= 2:
        return names
    alike = correlate_tasks(core.loc[names]).fillna(1.0).to_numpy(dtype="float64", copy=True)
    np.fill_diagonal(alike, np.inf)
    chosen = sorted(int(i) for i in np.unravel_index(np.argmin(alike), alike.shape))
    while len(chosen) < min(count, len(names)):
        nearest = alike[:, chosen].max(axis=1)
        nearest[chosen] = np.inf
        chosen.append(int(np.argmin(nearest)))
    return [names[i] for i in chosen]


def place_configurations(full: pd.DataFrame, space: SearchSpace, names: Sequence[str]) -> pd.DataFrame:
    """Return where configurations lie in the search space.

    Returns:
        `(C, D)` in the order of `names`, positions in [0, 1] of each hyperparameter; NaN where it is not active.
    """
    rows = full.drop_duplicates("configuration_id").set_index("configuration_id").loc[list(names)]
    # A table lists only hyperparameters that were active somewhere.
    rows = rows.reindex(columns=[f"hp_{name}" for name in space.names])
    found = [read_configuration(row, space) for row in rows.to_dict("records")]
    active = np.array([[space.is_active(name, c) for name in space.names] for c in found], dtype=bool)
    units = space.to_unit(found)
    placed = np.where(active.reshape(units.shape), units, np.nan)
    return pd.DataFrame(placed, index=list(names), columns=list(space.names))


def find_winners(core: pd.DataFrame, placed: pd.DataFrame) -> pd.DataFrame:
    """Return where the best configurations of each task lie.

    Returns:
        `(T * WINNERS, D)` positions, the best first within a task; the index holds the task of each line.
    """
    best = {task: row.dropna().sort_values(ascending=False, kind="stable").index for task, row in core.iterrows()}
    lines = [placed.loc[names[:WINNERS]].set_axis([task] * len(names[:WINNERS])) for task, names in best.items()]
    return pd.concat(lines)


def measure_noise(full: pd.DataFrame) -> pd.DataFrame:
    """Measure what another seed changes, on the tasks where configurations were repeated with one.

    Args:
        full: Trials of one learner at full fidelity.

    Returns:
        One line a task with at least 8 configurations that succeeded under two seeds or more: `task_id`,
        `configurations`, `noise_sd` (between seeds of a configuration), `spread_sd` (between configurations, first
        seed), `noise_fraction` (ratio of the variances), `seed_correlation` (rank correlation of the first two seeds),
        `top_correlation` (the same among the better half by the first seed) and `luck` (how much lower the winner of
        the first seed is under the second, in units of the task's span).
    """
    key = ["task_id", "configuration_id", "seed"]
    rows = full.loc[full["status"] == "ok"].groupby(key, sort=False)["performance"].first().reset_index()
    repeated = rows.loc[rows.groupby(key[:2])["seed"].transform("size") >= 2]
    lines = []
    for task_id, group in repeated.groupby("task_id"):
        wide = group.pivot_table(index="configuration_id", columns="seed", values="performance")
        both = wide.dropna(subset=list(wide.columns[:2]))
        if len(both) >= _MIN_PAIRS:
            first, second = both.iloc[:, 0], both.iloc[:, 1]
            top = first >= first.median()
            noise, spread = float(np.sqrt(both.var(axis=1, ddof=1).mean())), float(first.std())
            span = float(first.max() - first.min())
            lines.append(
                {
                    "task_id": task_id,
                    "configurations": len(both),
                    "noise_sd": noise,
                    "spread_sd": spread,
                    "noise_fraction": (noise / spread) ** 2 if spread > 0 else np.nan,
                    "seed_correlation": _rank_correlation(first, second),
                    "top_correlation": _rank_correlation(first[top], second[top]),
                    "luck": float(first.max() - second.iloc[int(first.argmax())]) / span if span > 0 else np.nan,
                }
            )
    return pd.DataFrame(lines, columns=list(_NOISE))


def count_failures(trials: pd.DataFrame) -> pd.DataFrame:
    """Count failed trials by the kind of their reason, its text before the first colon: `reason, trials, tasks`."""
    failed = trials.loc[trials["status"] == "failed"]
    kind = failed["reason"].str.split(":").str[0].str.replace(r"\d[\d.]*", "N", regex=True).str.strip()
    counted = failed.assign(reason=kind).groupby("reason").agg(trials=("task_id", "size"), tasks=("task_id", "nunique"))
    return counted.sort_values("trials", ascending=False).reset_index()


def correlate_meta_features(meta_features: pd.DataFrame, winners: pd.DataFrame) -> pd.DataFrame:
    """Correlate meta-features with where the best configurations lie.

    Args:
        meta_features: One line a task with `task_id` and `mf_*`.
        winners: From `find_winners`.

    Returns:
        `(M, D)` rank correlations over tasks with the mean position of the winners, those with the strongest
        correlation first; what never varies, or is known of too few tasks, is left out.
    """
    meta, means = meta_features.set_index("task_id").filter(like="mf_"), winners.groupby(level=0).mean()
    shared = [task for task in means.index if task in meta.index]
    meta, found = meta.loc[shared], means.loc[shared]
    varying = [name for name in meta.columns if meta[name].min() < meta[name].max()]
    moving = [name for name in found.columns if found[name].min() < found[name].max()]
    joined = pd.concat([meta[varying], found[moving]], axis=1)
    table = joined.corr(method="spearman", min_periods=_MIN_PAIRS).loc[varying, moving]
    table = table.dropna(how="all").dropna(axis="columns", how="all")
    return table.loc[table.abs().max(axis=1).sort_values(ascending=False, kind="stable").index]


def _measure_optimism(rows: pd.DataFrame) -> float:
    """Return by how much the best tenth of a task's trials falls short on the test rows."""
    top = rows.nlargest(max(1, len(rows) // 10), "performance")
    return float((top["performance"] - top["test_performance"]).mean())


def _rank_correlation(first: "pd.Series[float]", second: "pd.Series[float]") -> float:
    """Return the rank correlation over the pairs that are known; NaN where one side is constant or pairs are few."""
    known = first.notna() & second.notna()
    if known.sum() < _MIN_PAIRS or first[known].nunique() < 2 or second[known].nunique() < 2:
        return float("nan")
    return float(first[known].corr(second[known], method="spearman"))
