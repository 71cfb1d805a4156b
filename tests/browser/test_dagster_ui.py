"""Dagster's UI as a person uses it: the catalogue first, then "Materialize all" over all partitions.

Partitions are the tasks of the catalogue, so before its first materialisation there are none to choose and the
dialogue cannot be launched.
"""

import pytest

from tests.browser import ui
from tests.browser.conftest import MARKS
from tests.live import wait_for

pytestmark = MARKS
TASKS = ("iris", "wine", "zoo", "servo", "glass", "balance")
ASSETS = {
    "dataset_catalogue",
    "search_results",
    "meta_features",
    "meta_dataset",
    "surrogate",
    "recommendation_evaluation",
}


@pytest.fixture(scope="module")
def dagster(tmp_path_factory):
    project = tmp_path_factory.mktemp("project")
    environment = ui.lay_out(project, TASKS, core_trials=8, random_trials=4)
    with ui.make_ui(environment, project / "ui.log") as (made, _):
        yield made


@pytest.fixture
def page():
    with ui.open_page(1800, 1100) as opened:
        yield opened


def test_the_whole_pipeline_is_materialised_from_the_asset_graph_and_shows_its_plots(dagster, page):
    page.goto(dagster.url + "/assets/dataset_catalogue")
    page.get_by_role("button", name="Materialize").first.click()
    wait_for("the catalogue", lambda: "dataset_catalogue" in dagster.materialised(), ui.WORK_S)

    page.goto(dagster.url + "/asset-groups")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_text("6 partitions").first.wait_for()
    page.get_by_role("button", name="Launch backfill").click()
    wait_for(
        "the backfill", lambda: bool(dagster.backfills()) and not {"REQUESTED"} & set(dagster.backfills()), ui.WORK_S
    )

    assert dagster.materialised().keys() >= ASSETS
    selections = [{asset["path"][0] for asset in run["assetSelection"]} for run in dagster.runs()]
    # One run for all partitions of both partitioned assets, not one a task.
    assert selections.count({"search_results", "meta_features"}) == 1

    page.goto(dagster.url + "/assets/recommendation_evaluation")
    ui.show_plot(page, "plot_regret")
