"""A page on another port of this machine, open in a real browser, cannot read or change anything of the servers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser import ui
from tests.browser.conftest import MARKS

pytestmark = MARKS

MUTATION = (
    'mutation{startSensor(sensorSelector:{repositoryName:"__repository__",repositoryLocationName:'
    '"metaflow_hpo.definitions",sensorName:"inbox_sensor"}){__typename}}'
)
ATTACK = """
async ([dagster, mlflow, mutation]) => {
    const found = {};
    const attempt = async (name, doing) => {
        try { found[name] = await doing(); } catch (error) { found[name] = "blocked"; }
    };
    const read = async (url, options) => {
        const answer = await fetch(url, options);
        return answer.type === "opaque" ? "opaque" : `${answer.status} ${(await answer.text()).slice(0, 80)}`;
    };
    const socket = url => new Promise(done => {
        const opened = new WebSocket(url, "graphql-ws");
        opened.onopen = () => done("opened");
        opened.onerror = () => done("blocked");
    });
    const image = url => new Promise(done => {
        const picture = new Image();
        picture.onload = () => done("loaded"); picture.onerror = () => done("blocked");
        picture.src = url;
    });
    const frame = url => new Promise(done => {
        const inner = document.createElement("iframe");
        inner.onload = () => done(inner.contentDocument === null ? "blocked" : "read");
        inner.src = url;
        document.body.append(inner);
    });
    const json = {"content-type": "application/json"};
    const body = JSON.stringify({query: mutation});
    const query = `${dagster}/graphql?query=${encodeURIComponent(mutation)}`;
    const create = `${mlflow}/ajax-api/2.0/mlflow/experiments/create`;
    await attempt("post json", () => read(`${dagster}/graphql`, {method: "POST", headers: json, body}));
    await attempt("post text", () => read(`${dagster}/graphql`, {method: "POST", mode: "no-cors", body}));
    await attempt("post query", () => read(query, {method: "POST", mode: "no-cors"}));
    await attempt("get", () => read(query));
    await attempt("get no-cors", () => read(query, {mode: "no-cors"}));
    await attempt("get no referrer", () => read(query, {mode: "no-cors", referrerPolicy: "no-referrer"}));
    await attempt("image", () => image(query));
    await attempt("websocket", () => socket(`${dagster.replace("http", "ws")}/graphql`));
    await attempt("frame", () => frame(dagster));
    await attempt("read dagster", () => read(`${dagster}/server_info`));
    await attempt("read mlflow", () => read(`${mlflow}/ajax-api/2.0/mlflow/experiments/search?max_results=5`));
    await attempt("create json", () => read(create, {method: "POST", headers: json, body: '{"name": "stolen"}'}));
    await attempt("create text", () => read(create, {method: "POST", mode: "no-cors", body: '{"name": "stolen"}'}));
    await attempt("read credentials", () => read(`${mlflow}/`, {credentials: "include"}));
    return found;
}
"""


@contextmanager
def serve_page(folder: Path) -> Iterator[int]:
    """Serve an empty page on a port of its own."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    (folder / "index.html").write_text("<!doctype html><title>evil</title><body></body>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def attack(dagster: str, mlflow: str, folder: Path, host: str) -> dict[str, str]:
    """Return what a page at `host` reached, by attempt."""
    with serve_page(folder) as port, ui.open_page(1200, 800) as page:
        page.goto(f"http://{host}:{port}/")
        return dict(page.evaluate(ATTACK, [dagster, mlflow, MUTATION]))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory):
    project = tmp_path_factory.mktemp("project")
    environment = ui.lay_out(project, ("iris",), core_trials=8, random_trials=4)
    with ui.make_ui(environment, project / "ui.log") as made:
        yield made


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_on_another_port_reads_and_changes_nothing(servers, tmp_path: Path, host: str) -> None:
    dagster, mlflow = servers
    found = attack(dagster.url, mlflow, tmp_path, host)
    assert not [name for name, what in found.items() if what not in {"blocked", "opaque"}], found
    assert found["websocket"] == "blocked"
    assert dagster.sensors()["inbox_sensor"] == "STOPPED"


def test_the_pages_of_the_servers_work(servers) -> None:
    dagster, mlflow = servers
    with ui.open_page(1400, 900) as page:
        page.goto(f"{dagster.url}/assets/dataset_catalogue")
        page.get_by_text("dataset_catalogue").first.wait_for()
        page.goto(mlflow)
        page.get_by_text("Experiments").first.wait_for()
