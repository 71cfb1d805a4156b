"""Ten tasks and a person's own learner through Dagster's pages, and the champion over HTTP."""

import json
import subprocess
import sys
from urllib.request import Request, urlopen

import numpy as np
import pytest

from tests.browser import ui
from tests.browser.conftest import MARKS
from tests.live import answers, free_ports, wait_for
from tests.ten_tasks.digits_learner import CNN
from tests.ten_tasks.tasks import NEW, TASKS, meta_features, surroundings, train_once, write_task

pytestmark = MARKS


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    environment = ui.lay_out(folder, (), core_trials=12, random_trials=4)
    settings = {"learner": "digits_learner:CNN"}
    environment |= {**surroundings(folder / "data", **settings), "METAFLOW_HPO_FIDELITY_EPOCHS": "3"}
    for name, (digits, noise) in TASKS.items():
        write_task(folder / "data" / "inbox", name, digits, noise)
    return folder, environment


def test_ten_partitions_are_searched_learned_from_and_promoted_from_the_pages(project, tmp_path):
    folder, environment = project
    with ui.make_ui(environment, folder / "ui.log") as (dagster, _), ui.open_page(1800, 1100, 240) as page:
        page.goto(dagster.url + "/assets/dataset_catalogue")
        page.get_by_role("button", name="Materialize").first.click()
        wait_for("the catalogue", lambda: "dataset_catalogue" in dagster.materialised(), ui.WORK_S)
        page.goto(dagster.url + "/asset-groups")
        page.get_by_role("button", name="Materialize all").click()
        page.get_by_role("button", name="All", exact=True).click()
        page.get_by_text("10 partitions").first.wait_for()
        page.get_by_role("button", name="Launch backfill").click()
        wait_for("the champion", lambda: "champion" in dagster.materialised(), ui.WORK_S)
        page.goto(dagster.url + "/assets/search_results?view=partitions")
        page.get_by_text("Materialized (10)").first.wait_for()
        page.screenshot(path=tmp_path / "partitions.png")
    record = json.loads((folder / "data" / "learners" / "digits_cnn" / "champion.json").read_text())
    assert record["promoted"], record["reason"]


def test_the_champion_proposes_over_http_what_is_better_than_random(project):
    folder, environment = project
    [port] = free_ports(1)
    command = [sys.executable, "-m", "metaflow_hpo.adapters.serving", "--port", str(port)]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            wait_for("the service", lambda: answers(f"http://127.0.0.1:{port}/ping"), ui.START_S)
            row = {f"mf_{name}": value for name, value in meta_features(*NEW).items()}
            body = json.dumps({"dataframe_records": [row], "params": {"k": 3}}).encode()
            request = Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
            with urlopen(request) as response:  # noqa: S310
                [answer] = json.loads(response.read())["predictions"]
        finally:
            process.terminate()
            process.wait()
    assert answer["lineage"]["surrogate_name"] == "metaflow_hpo_surrogate.digits_cnn"
    first = train_once(answer["recommendations"][0]["configuration"])
    drawn = CNN.space.from_unit(np.random.default_rng(0).random((30, len(CNN.space.hyperparameters))))
    scores = sorted(train_once(configuration) for configuration in drawn)
    print(f"\nfirst proposal {first:.3f}, random {np.round(scores, 3).tolist()}")
    assert first > np.median(scores)
