"""A page on another port of this machine, open in a real browser, cannot read or change anything of the servers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.adapters import test_serving
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


ATTACK_SERVICE = """
async ([service, body]) => {
    const found = {};
    const attempt = async (name, doing) => {
        try { found[name] = await doing(); } catch (error) { found[name] = "blocked"; }
    };
    const read = async (url, options) => {
        const answer = await fetch(url, options);
        return answer.type === "opaque" ? "opaque" : `${answer.status} ${(await answer.text()).slice(0, 80)}`;
    };
    const element = (kind, set) => new Promise(done => {
        const one = document.createElement(kind);
        one.onload = () => done("loaded"); one.onerror = () => done("blocked");
        set(one);
        document.body.append(one);
    });
    const socket = () => new Promise(done => {
        const opened = new WebSocket(`${service.replace("http", "ws")}/invocations`);
        opened.onopen = () => done("opened"); opened.onerror = () => done("blocked");
    });
    const events = () => new Promise(done => {
        const source = new EventSource(`${service}/health`);
        source.onopen = () => done("opened"); source.onerror = () => { source.close(); done("blocked"); };
    });
    const json = {"content-type": "application/json"};
    for (const path of ["health", "ping", "version", "invocations", ""]) {
        await attempt(`get ${path}`, () => read(`${service}/${path}`));
        await attempt(`get no-cors ${path}`, () => read(`${service}/${path}`, {mode: "no-cors"}));
        await attempt(`credentials ${path}`, () => read(`${service}/${path}`, {credentials: "include"}));
        await attempt(`no referrer ${path}`, () => read(`${service}/${path}`, {referrerPolicy: "no-referrer"}));
    }
    await attempt("post json", () => read(`${service}/invocations`, {method: "POST", headers: json, body}));
    await attempt("post text", () => read(`${service}/invocations`, {method: "POST", mode: "no-cors", body}));
    const form = {method: "POST", body: new URLSearchParams({body})};
    await attempt("post form", () => read(`${service}/invocations`, form));
    await attempt("put", () => read(`${service}/invocations`, {method: "PUT", headers: json, body}));
    await attempt("image", () => element("img", one => { one.src = `${service}/health`; }));
    await attempt("script", () => element("script", one => { one.src = `${service}/version`; }));
    await attempt("style", () => element("link", one => { one.rel = "stylesheet"; one.href = `${service}/health`; }));
    await attempt("frame", () => element("iframe", one => { one.src = `${service}/health`; }).then(
        () => [...document.querySelectorAll("iframe")].some(one => one.contentDocument) ? "read" : "blocked"));
    await attempt("websocket", socket);
    await attempt("events", events);
    navigator.sendBeacon(`${service}/invocations`, body);
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


client, registry, row = test_serving.client, test_serving.registry, test_serving.row


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_on_another_port_gets_nothing_of_the_service(client, row, tmp_path: Path, host: str) -> None:
    body = json.dumps({"dataframe_records": [row]})
    before = client.ask("GET", "/health")[2]
    with serve_page(tmp_path) as port, ui.open_page(1200, 800) as page:
        page.goto(f"http://{host}:{port}/")
        found = dict(page.evaluate(ATTACK_SERVICE, [f"http://127.0.0.1:{client.port}", body]))
        assert not [name for name, what in found.items() if what not in {"blocked", "opaque"}], found
        page.goto(f"http://127.0.0.1:{client.port}/health")  # a person may look at it
        assert '"status":"ok"' in page.content()
    after = client.ask("GET", "/health")[2]
    assert {**after, "checked_at": ""} == {**before, "checked_at": ""}
    assert client.post({"dataframe_records": [row]})[0] == 200


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
