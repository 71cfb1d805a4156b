"""A zip of pictures lands in the inbox: a person watches how it is searched and learned from, and asks over HTTP."""

import pandas as pd
import pytest

from metaflow_hpo.learners.cnn import SPACE
from tests.browser import ui
from tests.browser.conftest import MARKS
from tests.live import wait_for

pytestmark = MARKS
TASK = "handwriting"


@pytest.fixture
def environment(tmp_path):
    """A project of pictures alone; trained as long as those are that ship, or nothing is learned from them together."""
    laid = ui.lay_out(tmp_path, (), core_trials=8, random_trials=0)
    return {**laid, "METAFLOW_HPO_LEARNER": "cnn", "METAFLOW_HPO_FIDELITY_EPOCHS": ""}


def test_a_zip_of_pictures_is_searched_learned_from_promoted_and_recommended_for_over_http(tmp_path, environment):
    with ui.make_ui(environment, tmp_path / "ui.log") as (dagster, mlflow), ui.open_page(1800, 1100) as page:
        ui.turn_sensors_on(page, dagster)
        page.goto("about:blank")  # a page that asks for news each second would take time from the trainings
        ui.land_pictures(tmp_path, TASK)
        wait_for(
            "a version that is judged",
            lambda: "champion" in dagster.materialised() and not dagster.unfinished(),
            ui.WORK_S,
        )
        assert {run["status"] for run in dagster.runs()} == {"SUCCESS"}

        # Its partition shows the search, and the pictures themselves.
        page.goto(f"{dagster.url}/runs")
        page.get_by_text(TASK).first.wait_for()
        page.goto(f"{dagster.url}/assets/search_results?partition={TASK}")
        ui.show_plot(page, "search")
        ui.keep_picture(page, tmp_path / "search.png")
        page.goto(f"{dagster.url}/assets/meta_features?partition={TASK}")
        ui.show_plot(page, "task")
        ui.keep_picture(page, tmp_path / "sheet.png")
        page.goto(f"{dagster.url}/assets/champion")
        page.get_by_text("promoted").first.wait_for()
        ui.keep_picture(page, tmp_path / "champion.png")

        # The version that was trained on it, and what the gate said.
        ui.open_mlflow(page, mlflow)
        page.goto(f"{mlflow}/#/models/metaflow_hpo_surrogate.cnn/versions/1")
        page.get_by_text("Passed.").first.wait_for()
        page.get_by_text("Regret on held-out families").first.wait_for()
        ui.keep_picture(page, tmp_path / "version.png")

        described = pd.read_parquet(tmp_path / "data" / "meta_features" / f"{TASK}.parquet").iloc[0]
        with ui.serve(environment, "cnn", tmp_path / "serve.log") as url:
            answer = ui.ask(url, {name: float(v) for name, v in described.items() if name.startswith("mf_")}, k=3)
    [recommended] = [one["recommendations"] for one in answer["predictions"]]
    assert [one["rank"] for one in recommended] == [1, 2, 3]
    assert all(set(one["configuration"]) <= set(SPACE.names) for one in recommended)
