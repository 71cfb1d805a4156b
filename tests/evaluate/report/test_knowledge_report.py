"""The knowledge page: it holds every task and plot, needs nothing else to be read, and says what was computed."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.evaluate.report.knowledge_plots import plot_performances, plot_winners
from metaflow_hpo.evaluate.report.knowledge_report import KnownTables, derive, render_report
from metaflow_hpo.learners.mlp.recipe import SPACE
from metaflow_hpo.modalities.table.meta_features import TABLE_GROUP
from metaflow_hpo.tables import trials_to_frame
from metaflow_hpo.trial import Trial

TASKS = [f"task_{i}" for i in range(10)]


def search(task, best_at, configurations, seed):
    rng = np.random.default_rng([seed, int(task[-1])])
    units = SPACE.to_unit(configurations)
    performance = 0.9 - 0.6 * np.abs(units[:, 0] - best_at) + rng.normal(0, 0.005, len(units))
    return [
        Trial(task, f"family_of_{task}", "mlp", c, "sobol", seed, 50, float(p), float(p), 0.5)
        for c, p in zip(configurations, performance, strict=True)
    ]


@pytest.fixture(scope="module")
def knowledge():
    rng = np.random.default_rng(0)
    configurations = [SPACE.default, *SPACE.from_unit(rng.random((59, len(SPACE.names))))]
    trials = []
    for i, task in enumerate(TASKS):
        trials += search(task, i / 9, configurations, 0)
    trials += search("task_3", 3 / 9, configurations, 1)
    lines = [
        {
            "task_id": task,
            "family": f"family_of_{task}",
            "kind": "regression" if i % 3 == 0 else "binary",
            "metric": "r2" if i % 3 == 0 else "balanced_accuracy",
            "rows": 100 * (i + 1),
            "columns": 5,
            "classes": 0 if i % 3 == 0 else 2,
            "licence": "CC & <free>",
            "source": "made up",
            "simulated": True,
        }
        for i, task in enumerate([*TASKS, "never_searched"])
    ]
    meta = pd.DataFrame(rng.random((10, 3)), columns=list(TABLE_GROUP.columns[:3]))
    meta = meta.assign(task_id=TASKS, duration_s=0.1, mf_landmark_stump=np.arange(10) / 9)
    frame = trials_to_frame(trials)
    return KnownTables(pd.DataFrame(lines), frame, meta, "mlp", SPACE, provenance={"md5 of the catalogue": "abc123"})


@pytest.fixture(scope="module")
def page(knowledge):
    return render_report(knowledge)


def test_the_page_lists_every_searched_task_and_no_other(page):
    body = page[page.index('id="tasks"') : page.index('id="performance"')]
    assert re.findall(r"<tr><td>(\w+)</td>", body) == TASKS
    assert "10 of 11 in the catalogue" in page
    assert "never_searched" not in page
    assert "CC &amp; &lt;free&gt;" in page
    assert "abc123" in page


def test_the_page_is_self_contained(page):
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len([s for s in sources if s.startswith("data:image/svg+xml;base64,")]) == 8
    assert all(s.startswith(("data:image", "#")) for s in sources)
    assert "Not enough tasks" not in page


def test_the_same_tables_give_the_same_page(knowledge, page):
    assert render_report(knowledge) == page


def test_what_is_said_is_what_was_put_in(knowledge, page):
    derived = derive(knowledge)
    assert derived.importance.median().idxmax() == "learning_rate"
    assert derived.noise["task_id"].tolist() == ["task_3"]
    assert derived.noise["noise_sd"].iloc[0] == pytest.approx(0.005, rel=0.3)
    assert "The learning rate explains" in page
    assert "From task to task learning rate moves most" in page
    assert "Second seed on 1 tasks" in page
    assert "the strongest is landmark stump with learning rate" in " ".join(page.split())


FORECAST = {"expected_gain": 0.02, "low": 0.0, "high": 0.05, "worth_it": True, "gain": 0.04}
TUNING = pd.DataFrame([{"task_id": "task_1", "family": "task_1", **FORECAST}])


def test_stability_and_what_came_of_forecasts_of_tuning_are_shown_where_they_are_given(page, knowledge):
    assert "moves when the same task" not in page
    assert "Not measured: <code>metaflow-hpo evaluate</code> does." in page
    stability = pd.DataFrame([{"meta_feature": "mf_log_rows", "spread": 0.25}])
    shown = render_report(replace(knowledge, stability=stability, tuning=TUNING))
    assert "<td>mf_log_rows</td><td>0.250</td>" in shown
    assert "<td>told that it pays</td><td>1</td><td>0.0200</td><td>0.0400</td>" in shown


def test_few_configurations_and_tasks_still_make_a_page(knowledge):
    names = knowledge.trials["configuration_id"].drop_duplicates()[:8]
    few = knowledge.trials.loc[
        knowledge.trials["configuration_id"].isin(names) & (knowledge.trials["task_id"] == "task_1")
    ]
    page = render_report(replace(knowledge, trials=few, tuning=TUNING.iloc[:0]))
    assert "no past task was scored on unseen rows" in page
    assert "Too few shared configurations" in page
    assert "Not enough tasks" in page


def test_tasks_that_share_nothing_are_refused(knowledge):
    first = knowledge.trials.drop_duplicates("task_id")
    apart = first.assign(configuration_id=[f"c{i}" for i in range(len(first))])
    with pytest.raises(InvalidTableError, match="tried on 90% of the 10 tasks; found none"):
        render_report(replace(knowledge, trials=apart))


def test_performances_are_drawn_by_kind_and_sorted_by_median(knowledge):
    tasks = derive(knowledge).tasks
    figure = plot_performances(tasks)
    classification = figure.axes[0].collections[2].get_offsets()  # the medians
    expected = np.sort(tasks.loc[tasks["kind"] != "regression", "median"])
    np.testing.assert_allclose(classification[:, 1], expected)


def test_winners_are_drawn_as_shares_with_one_bar_a_choice(knowledge):
    derived = derive(knowledge)
    axes = plot_winners(derived.winners, derived.placed, SPACE).axes[list(SPACE.names).index("optimizer")]
    bars = [bar.get_height() for bar in axes.patches[:3]]
    shares = derived.winners["optimizer"].value_counts(normalize=True).sort_index() * 100
    assert sum(bars) == pytest.approx(100)
    np.testing.assert_allclose([bar for bar in bars if bar > 0], shares)
