"""MLflow's database: whole or not there, at home in any folder, and following its folder when that is copied."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from metaflow_hpo.adapters import tracking as tracking_module
from metaflow_hpo.adapters.mlflow_database import check_whole, prepare_database
from metaflow_hpo.adapters.tracking import Tracking
from metaflow_hpo.errors import MetaflowHPOError

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow"),
]


def record(tracking: Tracking, text: str = "found") -> str:
    with tracking.parent_run("search", "a search", {}) as run:
        file = Path(str(tracking.database)).with_name("made.txt")
        file.write_text(text)
        run.log_file(file)
        file.unlink()
    return run.run_id


def artifacts(data: Path) -> list[Path]:
    return sorted(path for path in data.rglob("made.txt"))


NAMES = [
    "what?",
    "what?1",
    "q?a=b&c",
    "a#b",
    "%41 x",
    "%3F",
    "100%",
    "a b",
    "~x",
    "ünï 销售",
    "line\nend",
    "semi;colon",
    "'\"",
    "+&=",
    "[1]",
    ".d",
    "a:b",
    "-x",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_database_lies_in_a_folder_of_any_name_and_nothing_beside_it(
    tmp_path: Path, mlflow_template: Path, name: str
) -> None:
    data = tmp_path / "top" / name / "data"
    (data / "mlflow").mkdir(parents=True)
    shutil.copy(mlflow_template, data / "mlflow" / "mlflow.db")
    tracking = Tracking.local(data)
    assert tracking.database == data / "mlflow" / "mlflow.db"
    run = record(tracking)
    assert artifacts(tmp_path) == artifacts(data)
    assert tracking.client().get_run(run).info.status == "FINISHED"
    assert [path.name for path in (tmp_path / "top").iterdir()] == [name]
    with sqlite3.connect(tracking.database) as connection:
        assert connection.execute("SELECT COUNT(*) FROM runs").fetchone() == (1,)


def test_a_relative_folder_is_the_one_of_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracking = Tracking.local(Path("data"))
    monkeypatch.chdir("/")
    assert tracking.database == tmp_path / "data" / "mlflow" / "mlflow.db"


@pytest.mark.parametrize("original_is_there", [True, False])
def test_a_copied_folder_writes_and_reads_at_its_own_place(
    tracking: Tracking, tmp_path: Path, original_is_there: bool
) -> None:
    first = record(tracking)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    before = artifacts(tmp_path / "data")
    if not original_is_there:
        shutil.rmtree(tmp_path / "data")
    copy = Tracking.local(tmp_path / "copy")
    record(copy)
    assert len(artifacts(tmp_path / "copy")) == 2
    assert artifacts(tmp_path / "data") == (before if original_is_there else [])
    client = copy.client()
    assert client.list_artifacts(first)[0].path == "made.txt"
    assert client.get_run(first).info.artifact_uri.startswith((tmp_path / "copy").as_uri())


def test_a_folder_that_is_copied_twice_and_moved_still_finds_everything(tracking: Tracking, tmp_path: Path) -> None:
    record(tracking)
    for source, target in (("data", "second % copy"), ("second % copy", "third?")):
        shutil.move(tmp_path / source, tmp_path / target)
        record(Tracking.local(tmp_path / target))
    tracking = Tracking.local(tmp_path / "third?")
    experiment = tracking.client().get_experiment_by_name("metaflow_hpo/search")
    assert experiment is not None
    runs = tracking.client().search_runs([experiment.experiment_id])
    assert [len(tracking.client().list_artifacts(run.info.run_id)) for run in runs] == [1, 1, 1]


def test_an_experiment_of_somebody_else_is_left_where_it_is(tracking: Tracking, tmp_path: Path) -> None:
    record(tracking)
    client = tracking.client()
    elsewhere = client.create_experiment("other", artifact_location="s3://bucket/other")
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    copied = Tracking.local(tmp_path / "copy").client().get_experiment(elsewhere)
    assert copied.artifact_location == "s3://bucket/other"


class Interrupted(BaseException):
    """What strikes while MLflow makes its tables."""


@pytest.mark.parametrize("error", [Interrupted, OSError, MlflowException, sqlite3.OperationalError, KeyboardInterrupt])
@pytest.mark.parametrize("written", [b"", b"SQLite format 3\0", b"half a database"])
def test_what_is_interrupted_leaves_no_database(tmp_path: Path, error: type[BaseException], written: bytes) -> None:
    database = tmp_path / "mlflow" / "mlflow.db"

    def fill(new: Path) -> None:
        new.write_bytes(written)
        raise error("no space left")

    with pytest.raises(error):
        prepare_database(database, tmp_path / "artifacts", fill)
    assert [path.name for path in database.parent.iterdir()] == ["mlflow.db.lock"]
    prepare_database(database, tmp_path / "artifacts", lambda new: new.write_bytes(b"whole"))
    assert database.read_bytes() == b"whole"


def test_what_a_killed_process_left_is_removed_and_an_empty_database_is_made_anew(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    database.touch()
    (tmp_path / ".mlflow.db.0123.tmp").write_bytes(b"half")
    (tmp_path / ".mlflow.db.0123.tmp-journal").write_bytes(b"half")
    prepare_database(database, tmp_path / "artifacts", lambda new: new.write_bytes(b"whole"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("CREATE TABLE _alembic_tmp_metrics (a INT)", "holds 0 runs. Delete it: nothing is lost"),
        ("DROP TABLE alembic_version", "holds 0 runs. Delete it"),
    ],
)
def test_a_database_that_an_older_version_left_half_made_is_named(
    tmp_path: Path, mlflow_template: Path, statement: str, message: str
) -> None:
    database = tmp_path / "mlflow" / "mlflow.db"
    database.parent.mkdir()
    shutil.copy(mlflow_template, database)
    with sqlite3.connect(database) as connection:
        connection.execute(statement)
    with pytest.raises(MetaflowHPOError, match=message):
        Tracking.local(tmp_path).prepare()


def test_a_half_made_database_with_runs_is_not_to_be_deleted(tracking: Tracking, tmp_path: Path) -> None:
    record(tracking)
    tracking_module._prepare.cache_clear()
    assert tracking.database is not None
    with sqlite3.connect(tracking.database) as connection:
        connection.execute("CREATE TABLE _alembic_tmp_metrics (a INT)")
    with pytest.raises(MetaflowHPOError, match=r"holds 1 runs\. Put a copy of it back"):
        tracking.prepare()


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"x" * 2000])
def test_a_damaged_database_is_one_message(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_bytes(content)
    with pytest.raises(MetaflowHPOError, match="Put a copy of it back, or move it away"):
        Tracking.local(tmp_path).prepare()


def test_what_a_killed_process_has_half_written_is_taken_back(tracking: Tracking, tmp_path: Path) -> None:
    run = record(tracking)
    assert tracking.database is not None
    code = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size=1")
connection.execute("UPDATE runs SET status = 'FAILED'")
connection.execute("CREATE TABLE more (a)")
for _ in range(100):
    connection.execute("INSERT INTO more SELECT randomblob(900)")
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", code, str(tracking.database)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert tracking.database.with_name("mlflow.db-journal").stat().st_size > 0
    tracking_module._prepare.cache_clear()
    assert tracking.client().get_run(run).info.status == "FINISHED"


def damage(content: bytes, how: str, chance: random.Random) -> bytes:
    """Return a database as a bad disk or a cut copy leaves it."""
    damaged, at = bytearray(content), chance.randrange(100, len(content))
    if how == "cut":
        return content[:at]
    if how == "flipped":
        for _ in range(200):
            damaged[chance.randrange(100, len(damaged))] ^= 1 << chance.randrange(8)
    page = at // 4096 * 4096
    if how == "zeros":
        damaged[page : page + 4096] = bytes(4096)
    if how == "another page":
        damaged[page : page + 4096] = damaged[8192:12288] if page != 8192 else damaged[4096:8192]
    return bytes(damaged)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("how", ["cut", "flipped", "zeros", "another page"])
def test_damage_anywhere_is_one_message_or_does_no_harm(
    tracking: Tracking, tmp_path: Path, how: str, seed: int
) -> None:
    run = record(tracking)
    assert tracking.database is not None
    tracking.database.write_bytes(damage(tracking.database.read_bytes(), how, random.Random(f"{how}{seed}")))
    said = ""
    try:
        check_whole(tracking.database)
    except MetaflowHPOError as error:
        said = str(error)
    assert not said or "Put a copy of it back" in said or "Delete it: nothing is lost" in said
    if not said:
        tracking_module._prepare.cache_clear()
        assert tracking.client().get_run(run).info.status == "FINISHED"


def test_a_copy_that_cannot_be_written_to_is_read_as_it_is(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = record(tracking)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    copy = Tracking.local(tmp_path / "copy")
    assert copy.database is not None
    before = copy.database.read_bytes()
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    original = copy.client().get_run(run).info.artifact_uri
    assert original.startswith((tmp_path / "data").as_uri())
    assert copy.find_artifact(original).startswith((tmp_path / "copy").as_uri())
    assert copy.find_artifact("s3://bucket/other") == "s3://bucket/other"
    assert copy.database.read_bytes() == before
