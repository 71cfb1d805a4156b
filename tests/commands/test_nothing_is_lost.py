"""Trials outlive whatever people and machines do to a data folder: names, links, moves, copies, kills, full disks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from metaflow_hpo.adapters.kept_trials import KeptTrials
from metaflow_hpo.cli import app
from metaflow_hpo.modalities.registry import read_source

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")]

Known = dict[tuple[Any, ...], float]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Path:
    """A data folder in which two trials of `write_table` are known."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "data" / "mlflow").mkdir(parents=True)
    shutil.copy(mlflow_template, folder / "data" / "mlflow")
    search(folder / "data", write_table(folder / "t.csv"), 2)
    return folder / "data"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "t.csv")


@pytest.fixture
def data(tmp_path: Path, searched: Path) -> Path:
    return shutil.copytree(searched, tmp_path / "data")


def write_table(path: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=60).round(6), "b": rng.normal(size=60).round(6)})
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.assign(y=np.where(frame["a"] > 0, "yes", "no")).to_csv(path, index=False)
    return path


def command(table: Path | str, trials: int) -> list[str]:
    options = ("--learner", "svm", "--strategy", "random", "--trials", str(trials), "--json")
    return ["search", "--target", "y", *options, "--", str(table)]


def call(data: Path | str, arguments: list[str]) -> Result:
    return CliRunner().invoke(app, arguments, env={"METAFLOW_HPO_DATA": str(data)})


def search(data: Path | str, table: Path | str, trials: int) -> None:
    done = call(data, command(table, trials))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["trials"] == trials


def known(data: Path, table: Path) -> Known:
    """Return how long each kept trial took, by which it is known as itself."""
    trials = KeptTrials(data / "own" / "search_results").read_trials(read_source(table, "y").task)
    return {(trial.configuration_id, trial.seed): trial.duration_s for trial in trials}


def check_goes_on(data: Path | str, table: Path, count: int = 3, spelled: Path | str | None = None) -> None:
    """Search on, and check that what was known is there and was not trained again."""
    before = known(Path(data), table)
    assert before
    search(data, spelled or table, count)
    after = known(Path(data), table)
    assert before.items() <= after.items()
    assert len(after) == count


NAMES = [
    "with blanks in it",
    "ünï 销售 🎲",
    "what?1=2",
    "a#b",
    "100%41",
    "~tilde",
    "a&b=c+d;e",
    'quote\'d "x"',
    "[br]{ack}*$HOME",
    ".hidden",
    "-dash",
    "line\nend",
    "trailing. ",
    "x" * 200,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_data_folder_may_be_called_anything(searched: Path, tmp_path: Path, table: Path, name: str) -> None:
    shutil.copytree(searched, tmp_path / "top" / name)
    check_goes_on(tmp_path / "top" / name, table)
    assert [path.name for path in (tmp_path / "top").iterdir()] == [name]
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("spelled", ["data", "./data", "deep/../../here/data/"])
def test_a_relative_data_folder_is_the_one_seen_from_here(
    searched: Path, tmp_path: Path, table: Path, spelled: str
) -> None:
    (tmp_path / "here" / "deep").mkdir()
    shutil.copytree(searched, tmp_path / "here" / "data")
    check_goes_on(spelled, table, spelled="../t.csv")
    assert len(known(tmp_path / "here" / "data", table)) == 3


def test_a_data_folder_below_the_home_is_found_as_a_shell_would(
    searched: Path, tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(searched, tmp_path / "home" / "my data")
    search("~/my data", table, 3)
    assert len(known(tmp_path / "home" / "my data", table)) == 3
    assert list((tmp_path / "here").iterdir()) == []


def test_a_link_to_a_data_folder_is_the_folder(data: Path, tmp_path: Path, table: Path) -> None:
    (tmp_path / "link").symlink_to(data)
    check_goes_on(tmp_path / "link", table)
    check_goes_on(data, table, 4)


def test_a_folder_that_was_moved_goes_on_at_its_new_place(data: Path, tmp_path: Path, table: Path) -> None:
    check_goes_on(shutil.move(data, tmp_path / "moved"), table)
    assert not data.exists()


def test_a_copy_goes_on_by_itself_and_leaves_the_original_as_it_was(data: Path, tmp_path: Path, table: Path) -> None:
    content = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    check_goes_on(shutil.copytree(data, tmp_path / "copy"), table)
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == content


TABLES = ["my table.csv", "ünï 销售.csv", "what?.csv", "a#b.csv", "%41.csv", "~.csv", "-x.csv", "line\nend.csv"]
TABLES += ["[a].csv", ".hidden.csv", "x" * 250 + ".csv", os.fsdecode(b"caf\xe9.csv"), "a.b.c.csv", "y.CSV", "t.txt"]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_may_be_called_anything_and_is_known_by_its_content(data: Path, table: Path, name: str) -> None:
    check_goes_on(data, table.rename(table.with_name(name)))


def test_tables_of_one_name_in_two_folders_keep_their_own_trials(data: Path, tmp_path: Path, table: Path) -> None:
    others = [write_table(tmp_path / str(seed) / "t.csv", seed) for seed in (1, 2)]
    for other in others:
        search(data, other, 1)
    for one in (table, *others):
        check_goes_on(data, one, 3)


def test_a_table_by_a_link_is_the_table(data: Path, table: Path) -> None:
    Path("link.csv").symlink_to(table)
    check_goes_on(data, table, spelled="link.csv")


def test_rows_that_were_changed_and_come_back_have_their_trials(data: Path, table: Path) -> None:
    search(data, write_table(table, seed=1), 1)
    check_goes_on(data, write_table(table))


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, OSError(28, "No space left on device"), MemoryError, SystemExit(3)]
)
def test_a_search_that_is_ended_by_anything_goes_on_from_its_trials(
    data: Path, table: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    append, count = KeptTrials.append_trial, 0

    def end_after_two(kept: KeptTrials, *arguments: Any) -> None:
        nonlocal count
        count += 1
        append(kept, *arguments)
        if count == 2:
            raise error

    with monkeypatch.context() as patched:
        patched.setattr(KeptTrials, "append_trial", end_after_two)
        assert call(data, command(table, 6)).exit_code != 0
    assert len(known(data, table)) == 4
    check_goes_on(data, table, 6)


def test_a_line_that_a_power_cut_left_half_costs_that_trial_alone(
    data: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(KeptTrials, "write_trials", lambda *arguments: sys.exit(3))
        assert call(data, command(table, 4)).exit_code == 3
    (journal,) = (data / "own" / "search_results").glob(".*.jsonl")
    journal.write_bytes(journal.read_bytes()[:-20])
    assert len(known(data, table)) == 3
    check_goes_on(data, table, 4)


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.argv[1:] = sys.argv[2:]
from metaflow_hpo.cli import main
main()
"""


@pytest.mark.parametrize("limit", [0, 700])
def test_a_full_disk_is_one_message_and_the_same_command_goes_on(data: Path, table: Path, limit: int) -> None:
    environment = {**os.environ, "METAFLOW_HPO_DATA": str(data)}
    program = [sys.executable, "-c", LIMITED, str(limit), *command(table, 4)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr
    check_goes_on(data, table, 4)


def test_two_searches_at_once_share_a_folder_and_keep_every_trial(data: Path, tmp_path: Path, table: Path) -> None:
    other = write_table(tmp_path / "other" / "t.csv", 1)
    before = known(data, table)
    environment = {**os.environ, "METAFLOW_HPO_DATA": str(data)}
    program = [sys.executable, "-m", "metaflow_hpo.cli"]
    silent: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    asked = [command(table, 5), command(other, 4)]
    both = [subprocess.Popen([*program, *one], env=environment, **silent) for one in asked]
    assert [one.wait(timeout=300) for one in both] == [0, 0]
    assert before.items() <= known(data, table).items()
    assert [len(known(data, one)) for one in (table, other)] == [5, 4]


def test_locks_that_killed_processes_left_stop_nobody(data: Path, table: Path) -> None:
    for lock in [*data.rglob("*.lock"), data / "mlflow" / "mlflow.db.lock"]:
        lock.write_text("99999999")
    check_goes_on(data, table)


def test_a_database_of_no_bytes_is_made_anew_beside_the_trials(data: Path, table: Path) -> None:
    (data / "mlflow" / "mlflow.db").write_bytes(b"")
    check_goes_on(data, table)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody may write to, not even root")
def test_where_nothing_may_be_written_there_are_recommendations_all_the_same(table: Path) -> None:
    done = call("/proc/data", ["recommend", str(table), "--target", "y", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["recommendations"]


@pytest.mark.parametrize("what", ["a file", "/dev/null", "/proc/data"])
def test_what_cannot_be_a_data_folder_is_named(table: Path, what: str) -> None:
    Path("a file").write_text("mine")
    done = call(what, command(table, 2))
    assert done.exit_code == 1
    assert what in str(done.exception)
    assert Path("a file").read_text() == "mine"
