"""Take the pictures of the README: a small project is run for real, then looked at in headless Chromium.

The one thing to know: the pictures are taken of real servers after a file has landed in the inbox and become a new
version of the surrogate; `ui` says how small the budgets are.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.browser import ui
from tests.live import Dagster, wait_for

PICTURES = Path(__file__).with_name("screenshots")
MAX_BYTES = 150_000
WIDTH, HEIGHT = 1440, 900
TASKS = ("auto_mpg", "balance", "breast_cancer", "concrete", "diabetes", "ecoli", "glass", "iris", "yacht", "zoo")
LANDED = "cellar"


def run_pipeline(environment: dict[str, str]) -> None:
    """Run the main job through Dagster, then fit, evaluate and offer a second version."""
    ui.call(environment, "metaflow_hpo.orchestration.main_job")
    again = {**environment, "METAFLOW_HPO_SEED": "1"}
    for step in ("surrogate", "recommendation_evaluation", "champion"):
        ui.call(again, "metaflow_hpo.cli", "step", step)


def save(page: Page, name: str) -> None:
    """Save what is seen as a small PNG of few colours.

    Raises:
        ValueError: If it does not fit into `MAX_BYTES` even so.
    """
    page.wait_for_timeout(2500)  # the pages draw when their queries have answered
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colours in (256, 128, 64, 32):
        buffer = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= MAX_BYTES:
            (PICTURES / f"{name}.png").write_bytes(buffer.getvalue())
            print(f"{name}.png: {buffer.tell()} bytes")
            return
    raise ValueError(f"{name}.png is larger than {MAX_BYTES} bytes.")


def watch_a_file_land(page: Page, dagster: Dagster, project: Path) -> None:
    """Turn the sensors on, land a file, and take the automation page and the runs that follow."""
    page.set_viewport_size({"width": WIDTH, "height": 2 * HEIGHT // 3})
    before = dagster.materialised()["champion"]
    ui.turn_sensors_on(page, dagster)
    ui.land_a_file(project, LANDED)
    wait_for("a new champion", lambda: dagster.materialised()["champion"] != before, ui.WORK_S)
    page.goto(f"{dagster.url}/automation")
    page.get_by_text("inbox_sensor", exact=True).last.wait_for()
    save(page, "dagster_automation")
    page.goto(f"{dagster.url}/runs")
    page.get_by_text(f"partition: {LANDED}").first.wait_for()
    save(page, "dagster_runs")


def look_at_dagster(page: Page, url: str) -> None:
    """Take the asset graph, the gate's check and a plot."""
    page.set_viewport_size({"width": WIDTH, "height": 2 * HEIGHT // 3})
    page.goto(f"{url}/asset-groups")
    page.get_by_text("surrogate", exact=True).last.wait_for()
    page.get_by_role("button", name="Hide navigation").click()
    page.wait_for_timeout(1500)
    page.keyboard.press("Alt+e")  # expands all groups
    page.get_by_text("meta_dataset").first.wait_for()
    save(page, "dagster_assets")
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.goto(f"{url}/assets/recommendation_evaluation?view=checks")
    page.get_by_text("This is a blocking asset check").or_(page.get_by_text("Evaluation result")).first.wait_for()
    save(page, "dagster_gate")
    page.goto(f"{url}/assets/recommendation_evaluation")
    ui.show_plot(page, "plot_regret")
    save(page, "dagster_regret")


def look_at_mlflow(page: Page, url: str) -> None:
    """Take the list of experiments, the comparison of versions, the versions with their tags, and a model card."""
    ui.open_mlflow(page, url)
    save(page, "mlflow_experiments")
    page.get_by_text("metaflow_hpo/surrogate").first.click()
    page.get_by_text("matching runs").wait_for()
    page.goto(page.url.replace("workflowType", "compareRunsMode=CHART&workflowType"))
    page.get_by_placeholder("Search metric charts").fill("regret/recommended")
    page.get_by_text("regret/recommended_k1").first.wait_for()
    save(page, "mlflow_comparison")
    page.goto(f"{url}/#/models/metaflow_hpo_surrogate")
    page.get_by_text("Version 2").first.wait_for()
    page.get_by_text("Version 1", exact=True).scroll_into_view_if_needed()
    save(page, "mlflow_versions")
    page.goto(f"{url}/#/models/metaflow_hpo_surrogate/versions/2")
    page.get_by_text("Regret on held-out families").first.wait_for()
    save(page, "mlflow_model_card")


def main() -> int:
    """Run the pipeline, start the servers and take the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--project", type=Path, help="new folder for the project, which stays")
    chosen = parser.parse_args()
    if ui.CHROMIUM is None:
        raise SystemExit("Expected Chromium on the PATH; found none. Try: apt-get install chromium")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots_") as temporary:
        project = (chosen.project or Path(temporary)).resolve()
        environment = ui.lay_out(project, TASKS, core_trials=32, random_trials=8)
        run_pipeline(environment)
        with ui.make_ui(environment) as (dagster, mlflow), ui.open_page(WIDTH, HEIGHT, timeout_s=120) as page:
            watch_a_file_land(page, dagster, project)
            look_at_dagster(page, dagster.url)
            look_at_mlflow(page, mlflow)
    return 0


if __name__ == "__main__":
    sys.exit(main())
