"""Take the pictures of the README: a small project is run for real, then looked at in headless Chromium.

The one thing to know: nothing is staged. The tasks are real, the servers are those of `make ui`, and what the pictures
show was computed by this run; only the sizes are small, so that it takes minutes.
"""

import argparse
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[2]
PICTURES = Path(__file__).with_name("screenshots")
MAX_BYTES = 150_000
WIDTH, HEIGHT = 1440, 900
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
TASKS = ("auto_mpg", "balance", "breast_cancer", "concrete", "diabetes", "ecoli", "glass", "iris", "yacht", "zoo")
SMALL = {
    "METAFLOW_HPO_TASKS": str(list(TASKS)).replace("'", '"'),
    "METAFLOW_HPO_CORE_TRIALS": "32",
    "METAFLOW_HPO_RANDOM_TRIALS": "8",
    "METAFLOW_HPO_FIDELITY_EPOCHS": "10",
    "METAFLOW_HPO_FOLDS": "3",
    "METAFLOW_HPO_ACCELERATOR": "cpu",
}


def call(environment: dict[str, str], *arguments: str) -> None:
    """Run a module of this environment to its end."""
    subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env=environment, check=True)


def run_pipeline(environment: dict[str, str]) -> None:
    """Run the main job through Dagster, then fit, evaluate and offer a second version."""
    call(environment, "metaflow_hpo.orchestration.main_job")
    again = {**environment, "METAFLOW_HPO_SEED": "1"}
    for step in ("surrogate", "recommendation_evaluation", "champion"):
        call(again, "metaflow_hpo.cli", "step", step)


@contextmanager
def ui(environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Run `make ui` and yield the addresses of Dagster and MLflow."""
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    servers = ["metaflow_hpo.adapters.servers", "--dagster-port", str(ports[0]), "--mlflow-port", str(ports[1])]
    with subprocess.Popen([sys.executable, "-m", *servers], cwd=ROOT, env=environment) as process:
        try:
            for port, path in zip(ports, ("server_info", "health"), strict=True):
                wait_for(f"http://127.0.0.1:{port}/{path}")
            yield f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
        finally:
            process.send_signal(signal.SIGINT)


def wait_for(url: str, seconds: float = 240) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


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
    row = page.get_by_role("row").filter(has_text="plot_regret").last
    row.get_by_text("Show Markdown").click()
    page.locator("img[alt=plot]").first.wait_for()
    save(page, "dagster_regret")


def look_at_mlflow(page: Page, url: str) -> None:
    """Take the list of experiments, the versions with their tags, and the model card."""
    page.goto(f"{url}/#/experiments")
    page.get_by_text("metaflow_hpo/surrogate").first.wait_for()
    page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()
    save(page, "mlflow_experiments")
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
    parser.add_argument("--project", type=Path, help="folder of an earlier call, whose results are shown again")
    chosen = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("Expected Chromium on the PATH; found none. Try: apt-get install chromium")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots_") as temporary:
        project = (chosen.project or Path(temporary)).resolve()
        (project / "dagster_home").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "dagster_home" / "dagster.yaml", project / "dagster_home")
        environment = {
            **os.environ,
            **SMALL,
            "DAGSTER_HOME": str(project / "dagster_home"),
            "METAFLOW_HPO_DATA": str(project / "data"),
            "PYTHONPATH": str(ROOT),
        }
        if not (project / "data" / "champion.json").is_file():
            run_pipeline(environment)
        with ui(environment) as (dagster, mlflow), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.set_default_timeout(120_000)
            look_at_dagster(page, dagster)
            look_at_mlflow(page, mlflow)
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
