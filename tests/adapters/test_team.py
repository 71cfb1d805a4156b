"""The team profile on a real Postgres that the test makes and removes; nothing may give away its password."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import yaml

from metaflow_hpo.adapters import team
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.secrets import hide_passwords, keep_credentials_apart
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.settings import Settings
from tests.live import free_ports

ROOT = Path(__file__).parents[2]
PASSWORD = "s3cret-word"  # noqa: S105
BINARIES = [Path(p) for p in os.environ["PATH"].split(os.pathsep)] + sorted(Path("/usr/lib/postgresql").glob("*/bin"))
POSTGRES = next((folder for folder in reversed(BINARIES) if (folder / "initdb").exists()), None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:s3cret-word@db:5432/x", "postgresql://me:***@db:5432/x"),
        ("no server at http://a:b%40c@h/ and s3://x:y@z", "no server at http://a:***@h/ and s3://x:***@z"),
        ("postgresql+psycopg2://:pw@h/x", "postgresql+psycopg2://:***@h/x"),
        ("postgresql://me:s3/cr@et@db/x", "postgresql://me:***@db/x"),
        ("postgresql:/me:s3cret@db/x", "postgresql:/me:***@db/x"),
        ("http://me:12345@h/x", "http://me:***@h/x"),
        ("http://a:b@h/,s3://x:y@z", "http://a:***@h/,s3://x:***@z"),
        ("ssh://host:22/versions@2", "ssh://host:22/versions@2"),
        ("models:/name@champion", "models:/name@champion"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("http://127.0.0.1:5000 and me@here.org", "http://127.0.0.1:5000 and me@here.org"),
        ("host=db password=s3cret user=me", "host=db password=*** user=me"),
        ("host=db password='s3 cret' user=me", "host=db password=*** user=me"),
        (
            "postgresql://db/x?user=me&password=s3cret&sslmode=require",
            "postgresql://db/x?user=me&password=***&sslmode=require",
        ),
        ("AccountName=a;AccountKey=s3cret==;Suffix=x", "AccountName=a;AccountKey=***;Suffix=x"),
        ("AWS_SECRET_ACCESS_KEY: s3cret", "AWS_SECRET_ACCESS_KEY: ***"),
        ("{'token': 's3cret', 'n': 1}", "{'token': ***, 'n': 1}"),
        ("no password was given; 3 tokens: see the key", "no password was given; 3 tokens: see the key"),
    ],
)
def test_the_password_of_an_address_is_hidden(text: str, shown: str) -> None:
    assert hide_passwords(text) == shown


def test_credentials_of_an_mlflow_server_go_where_mlflow_looks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    assert keep_credentials_apart("https://me:a%40b@mlflow.example:8443/x") == "https://mlflow.example:8443/x"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("me", "a@b")
    assert keep_credentials_apart("http://127.0.0.1:5000") == "http://127.0.0.1:5000"


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")
@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg2"])
def test_what_does_not_answer_is_named_without_its_password(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if scheme != "http":
        pytest.importorskip("psycopg2", reason="needs the extra `team`")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    address = f"{scheme}://me:{PASSWORD}@127.0.0.1:{free_ports(1)[0]}/x"
    pipeline = Pipeline(Settings(data=tmp_path, tracking_uri=address))
    with pytest.raises(MetaflowHPOError, match=r"Expected an MLflow tracking server or database at") as caught:
        pipeline.tracking.client()
    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in pipeline.tracking.address
    assert PASSWORD not in "".join(capfd.readouterr())


def test_dagster_and_mlflow_get_a_database_each() -> None:
    urls = team.database_urls({team.URL_VARIABLE: f"postgres://me:{PASSWORD}@db/hpo?sslmode=require"})
    shown = {name: url.render_as_string(hide_password=False) for name, url in urls.items()}
    assert shown == {
        "dagster": f"postgresql+psycopg2://me:{PASSWORD}@db/hpo_dagster?sslmode=require",
        "mlflow": f"postgresql+psycopg2://me:{PASSWORD}@db/hpo_mlflow?sslmode=require",
    }


@pytest.mark.parametrize("text", ["", "nonsense", f"mysql://me:{PASSWORD}@db/x", f"postgresql://me:{PASSWORD}@db"])
def test_an_address_of_no_postgres_database_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(MetaflowHPOError, match="expects METAFLOW_HPO_POSTGRES_URL=postgresql://") as caught:
        team.database_urls({team.URL_VARIABLE: text})
    assert PASSWORD not in str(caught.value)


def test_the_teams_instance_is_the_local_one_on_postgres(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    written = yaml.safe_load((team.write_instance(tmp_path) / "dagster.yaml").read_text())
    assert written == {
        "telemetry": {"enabled": False},
        "storage": {"postgres": {"postgres_url": {"env": team.DAGSTER_VARIABLE}}},
    }
    assert (tmp_path / "dagster.yaml").read_text() == "telemetry:\n  enabled: false\n"


@pytest.fixture
def postgres() -> Iterator[str]:
    """A cluster of its own that asks for a password; yields the address of a database that does not exist yet."""
    pytest.importorskip("dagster_postgres", reason="needs the extra `team`")
    if POSTGRES is None:
        pytest.skip("needs Postgres' initdb and pg_ctl; try: apt-get install postgresql")
    as_user: list[str] = []
    if os.geteuid() == 0:  # Postgres refuses to run as root
        if shutil.which("runuser") is None:
            pytest.skip("needs `runuser` to start Postgres as another user than root")
        as_user = ["runuser", "-u", "postgres", "--"]
    # Not below tmp_path, which pytest closes to other users.
    home, port = Path(tempfile.mkdtemp(prefix="metaflow_hpo_postgres_")), free_ports(1)[0]
    (home / "pw").write_text(PASSWORD)
    if as_user:
        subprocess.run(["chown", "-R", "postgres", str(home)], check=True)

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(POSTGRES / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=home, timeout=120)

    data = str(home / "data")
    run("initdb", "-D", data, "-U", "hpo", "--pwfile", str(home / "pw"), "-A", "scram-sha-256", "--no-sync")
    options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "-D", data, "-w", "-l", str(home / "log"), "-o", options, "start")
    try:
        yield f"postgresql://hpo:{PASSWORD}@127.0.0.1:{port}/team"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(home)


def query(url: str, text: str) -> list[tuple]:
    import psycopg2

    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(text)
        return cursor.fetchall()


def listening(pid: int) -> set[str]:
    """Return the addresses on which a process and its descendants can be reached."""
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    sockets = [c for member in family for c in member.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    return {connection.laddr.ip for connection in sockets}


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_of_dagster_and_its_mlflow_run_are_in_postgres_and_the_password_nowhere_else(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, data, ports = tmp_path / "home", tmp_path / "data", free_ports(2)
    home.mkdir()
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", home)
    small = {"METAFLOW_HPO_TASKS": '["iris"]', "METAFLOW_HPO_DATA": str(data), "PYTHONPATH": str(ROOT)}
    common = {**os.environ, **small, "DAGSTER_HOME": str(home)}
    command = [sys.executable, "-m", "metaflow_hpo.adapters.servers", "--profile", "team"]
    command += ["--dagster-port", str(ports[0]), "--mlflow-port", str(ports[1])]
    with (tmp_path / "log").open("w+") as log:
        environment = {**common, team.URL_VARIABLE: postgres}
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 240
            while not all(f"http://127.0.0.1:{port}" in (tmp_path / "log").read_text() for port in ports):
                assert running.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.5)
            family = [running, *psutil.Process(running.pid).children(recursive=True)]
            lines = [" ".join(psutil.Process(member.pid).cmdline()) for member in family]
            assert len(lines) > 3
            assert [line for line in lines if PASSWORD in line] == []
            assert listening(running.pid) == {"127.0.0.1"}
            # MLflow asks for no password here; the address holds one all the same.
            address = f"http://me:{PASSWORD}@127.0.0.1:{ports[1]}"
            worker = {
                **common,
                "DAGSTER_HOME": str(home / "team"),
                team.DAGSTER_VARIABLE: f"{postgres}_dagster".replace("://", "+psycopg2://"),
                "METAFLOW_HPO_TRACKING_URI": address,
            }
            materialise = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "metaflow_hpo.definitions"]
            done = subprocess.run(
                [*materialise, "--select", "dataset_catalogue"],
                cwd=ROOT, env=worker, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-3000:]
            status = subprocess.run(
                [sys.executable, "-m", "metaflow_hpo.cli", "status", "--json"],
                cwd=ROOT, env=worker, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert json.loads(status.stdout)["data"]["tracking_uri"] == f"http://127.0.0.1:{ports[1]}"
            monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
            tracking = Pipeline(Settings(data=data, tracking_uri=address)).tracking
            with tracking.parent_run("surrogate", "team", {"note": f"from {postgres}"}) as run:
                run.log_file(data / "catalogue.parquet")
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(timeout=90)
    assert query(f"{postgres}_dagster", "SELECT status FROM runs") == [("SUCCESS",)]
    assert query(f"{postgres}_dagster", "SELECT count(*) FROM event_logs")[0][0] > 5
    assert query(f"{postgres}_mlflow", "SELECT status FROM runs WHERE name = 'team'") == [("FINISHED",)]
    assert not list(tmp_path.rglob("*.db")), "something is kept in SQLite"
    noted = query(f"{postgres}_mlflow", "SELECT value FROM tags WHERE key = 'note'")
    assert noted == [(f"from {hide_passwords(postgres)}",)]
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 3
    assert [str(path) for path in kept if PASSWORD.encode() in path.read_bytes()] == []
    assert PASSWORD not in done.stdout + done.stderr + status.stdout + status.stderr
    for name in ("dagster", "mlflow"):
        dump = subprocess.run(
            [str(POSTGRES / "pg_dump"), f"{postgres}_{name}"], capture_output=True, text=True, check=True
        )
        assert PASSWORD not in dump.stdout


@pytest.mark.integration
@pytest.mark.slow
def test_train_names_its_database_without_the_password(postgres: str, tmp_path: Path) -> None:
    urls = team.database_urls({team.URL_VARIABLE: postgres})
    team.create_databases(urls)
    table = tmp_path / "table.csv"
    table.write_text("a,b,y\n" + "".join(f"{n},{n % 7},{'pq'[n % 2]}\n" for n in range(60)))
    done = subprocess.run(
        [sys.executable, "-m", "metaflow_hpo.cli", "train", str(table), "--target", "y"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "METAFLOW_HPO_DATA": str(tmp_path / "data"),
            "METAFLOW_HPO_TRACKING_URI": urls["mlflow"].render_as_string(hide_password=False),
        },
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "MLFLOW_TRACKING_URI=postgresql+psycopg2://hpo:***@127.0.0.1" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
