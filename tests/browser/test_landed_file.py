"""A file lands in the inbox, and a person watches in the browser how it becomes a new version of the surrogate."""

import re

from tests.browser import ui
from tests.browser.conftest import MARKS
from tests.live import wait_for

pytestmark = MARKS
TASKS = ("iris", "zoo", "servo", "glass", "balance", "ecoli")
LEARNED = ("meta_dataset", "surrogate", "recommendation_evaluation")


def test_a_landed_file_is_searched_learned_from_and_offered_as_a_new_version(tmp_path):
    environment = ui.lay_out(tmp_path, TASKS, core_trials=8, random_trials=4)
    ui.call(environment, "metaflow_hpo.orchestration.main_job")
    with ui.make_ui(environment, tmp_path / "ui.log") as (dagster, mlflow), ui.open_page(1800, 1100) as page:
        before, earlier = dagster.materialised(), {run["runId"] for run in dagster.runs()}
        ui.turn_sensors_on(page, dagster)
        ui.land_a_file(tmp_path, "cellar")

        def has_learned() -> bool:
            now = dagster.materialised()
            return all(now[name] != before[name] for name in LEARNED) and not dagster.unfinished()

        wait_for("the file is learned from", has_learned, ui.WORK_S)

        page.goto(f"{dagster.url}/runs")
        page.get_by_text("partition: cellar").first.wait_for()
        assert page.get_by_text("Failure", exact=True).count() == 0
        # One run that reads the catalogue, one that collects and one that learns, not one a tick.
        landed = [run for run in dagster.runs() if run["runId"] not in earlier]
        assert [run["jobName"] for run in landed][-1] == "catalogue"
        assert len(landed) == 3, landed

        page.goto(f"{dagster.url}/assets/search_results?partition=cellar")
        ui.show_plot(page, "search")
        page.goto(f"{dagster.url}/assets/recommendation_evaluation")
        ui.show_plot(page, "plot_regret")

        ui.open_mlflow(page, mlflow)
        page.goto(f"{mlflow}/#/models/metaflow_hpo_surrogate")
        page.get_by_text("Version 2").first.wait_for()
        page.goto(f"{mlflow}/#/models/metaflow_hpo_surrogate/versions/2")
        page.get_by_text(re.compile(r"^(Passed|Refused)\. ")).first.wait_for()
        page.get_by_text("Regret on held-out families").first.wait_for()
