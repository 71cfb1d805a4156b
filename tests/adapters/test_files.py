import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.adapters.files import (
    neutralise,
    read_frame,
    read_json,
    remove_leftovers,
    replacing,
    to_jsonable,
    write_atomically,
    write_frame,
    write_json,
)
from metaflow_hpo.errors import InvalidTableError

FRAME = pd.DataFrame({"task_id": ["iris", "wine"], "performance": [0.9, np.nan], "rank": [1, 2]})


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_a_write_that_the_system_refuses_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    code = """
import resource, signal, sys
from pathlib import Path
from metaflow_hpo.adapters.files import write_json
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_json(Path(sys.argv[1]), ["x" * 100] * 100)
"""
    process = run_python(code, str(path))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "File too large" in stderr
    assert read_json(path) == {"old": 1}
    assert names_in(tmp_path) == ["a.json"]


def test_a_writer_that_writes_nothing_is_an_error_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError):
        write_atomically(path, lambda temporary: None)
    assert path.read_text() == "old"


def test_folders_are_made_and_files_have_the_rights_of_any_new_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.json"
    write_json(path, 1)
    (tmp_path / "other").write_text("")
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_link_into_the_cache_is_replaced_and_the_cache_is_not_written_to(tmp_path: Path) -> None:
    cached, soft, hard = tmp_path / "cached", tmp_path / "soft.json", tmp_path / "hard.json"
    cached.write_text("1")
    soft.symlink_to(cached)
    hard.hardlink_to(cached)
    write_json(soft, 2)
    write_json(hard, 3)
    assert cached.read_text() == "1"
    assert (read_json(soft), read_json(hard)) == (2, 3)
    assert not soft.is_symlink()


def test_kill_9_during_writes_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    code = """
import sys
from pathlib import Path
from metaflow_hpo.adapters.files import write_json
value = 0
while True:
    write_json(Path(sys.argv[1]), [value] * 20000)
    value += 1
    print(value, flush=True)
"""
    process = run_python(code, str(path))
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    time.sleep(0.013)
    process.kill()
    process.communicate()
    content = read_json(path)
    assert len(content) == 20000
    assert len(set(content)) == 1
    assert list(tmp_path.glob("*.json")) == [path]


def test_json_is_standard_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {
        "a": np.float64(1.5),
        "b": float("nan"),
        "c": (np.int64(2), -math.inf),
        "d": np.array([1, 2]),
        3: Path("x"),
        "é": True,
    }
    write_json(path, value)
    expected = {"a": 1.5, "b": None, "c": [2, None], "d": [1, 2], "3": "x", "é": True}
    written = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert len(written.pop("content_md5")) == 32
    assert written == expected
    assert read_json(path) == expected == to_jsonable(value)


def test_missing_and_broken_json_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidTableError, match=r"no such file\. Run `metaflow-hpo fit`\."):
        read_json(tmp_path / "a.json", remedy="Run `metaflow-hpo fit`.")
    (tmp_path / "b.json").write_text('{"a": ')
    with pytest.raises(InvalidTableError, match=r"Expected JSON in .*b\.json; found: Expecting value"):
        read_json(tmp_path / "b.json")
    (tmp_path / "c.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidTableError, match="Expected JSON"):
        read_json(tmp_path / "c.json")


def test_a_table_reads_back_and_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    write_frame(tmp_path / "a.parquet", FRAME)
    write_frame(tmp_path / "b.parquet", FRAME.copy())
    pd.testing.assert_frame_equal(read_frame(tmp_path / "a.parquet"), FRAME)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_table_in_a_folder_that_looks_like_a_partition_gets_no_extra_column(tmp_path: Path) -> None:
    path = tmp_path / "learner=mlp" / "a.parquet"
    write_frame(path, FRAME)
    assert list(read_frame(path).columns) == list(FRAME.columns)


def test_the_rows_of_a_filtered_table_are_numbered_anew(tmp_path: Path) -> None:
    write_frame(tmp_path / "a.parquet", FRAME.iloc[1:])
    assert read_frame(tmp_path / "a.parquet").index.tolist() == [0]


def test_a_table_is_not_written_with_an_index_that_would_be_lost_or_mixed_types(tmp_path: Path) -> None:
    with pytest.raises(InvalidTableError, match=r"index \['task_id'\] would be lost"):
        write_frame(tmp_path / "a.parquet", FRAME.set_index("task_id"))
    with pytest.raises(InvalidTableError, match="expected one type in each column"):
        write_frame(tmp_path / "a.parquet", pd.DataFrame({"a": [1, "x"]}))
    assert names_in(tmp_path) == []


def test_a_missing_torn_or_damaged_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(InvalidTableError, match=r"a\.parquet; there is no such file.*dvc pull"):
        read_frame(path)
    write_frame(path, pd.DataFrame({"x": np.random.default_rng(0).normal(size=1000)}))
    whole = path.read_bytes()
    for size in (0, 3, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidTableError, match="Expected a whole parquet file"):
            read_frame(path)
    path.write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:])
    with pytest.raises(InvalidTableError, match="Expected a whole parquet file"):
        read_frame(path)


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "deep" / "kept"

    def replace_by(name, *, fail=False):
        with replacing(folder) as fresh:
            (fresh / name).write_text(name)
            if fail:
                raise ValueError("half way")

    for name in ("first", "second"):
        replace_by(name)
        assert [file.name for file in folder.iterdir()] == [name]
    with pytest.raises(ValueError, match="half way"):
        replace_by("third", fail=True)
    assert [file.name for file in folder.iterdir()] == ["second"]
    assert [entry.name for entry in folder.parent.iterdir()] == ["kept"]


def test_a_folder_stays_whole_where_it_cannot_be_replaced(tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "old").write_text("old")

    def refuse(path, target):
        raise OSError(f"no {target}")

    def replace_it():
        with replacing(folder) as fresh:
            (fresh / "new").write_text("new")
            monkeypatch.setattr(Path, "rename", refuse)

    with pytest.raises(OSError, match="no"):
        replace_it()
    monkeypatch.undo()
    assert [file.name for file in folder.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-5", "-5"),
        ("+3.5e-4", "+3.5e-4"),
        ("-inf", "-inf"),
        ("a=1", "a=1"),
        ("'=1", "'=1"),
        ("[relu]", "[relu]"),
        ("", ""),
        (None, None),
        (1.5, 1.5),
    ],
)
@pytest.mark.parametrize("kind", ["object", "category"])
def test_no_text_of_a_csv_for_people_is_a_formula(value: object, shown: object, kind: str) -> None:
    frame = pd.DataFrame({"a": pd.Series([value, "x"], dtype="object").astype(kind), "n": [-1.0, 2.0]})
    written = neutralise(frame)
    assert list(written["a"]) == [shown, "x"] or (value is None and written["a"].isna()[0])
    assert list(written["n"]) == [-1.0, 2.0]
    assert frame["a"][1] == "x"


def test_no_name_of_a_column_is_a_formula_and_names_may_repeat() -> None:
    frame = pd.DataFrame([["=x", 1.0, "y"]], columns=["=HYPERLINK(0)", "a", "a"])
    written = neutralise(frame)
    assert list(written.columns) == ["'=HYPERLINK(0)", "a", "a"]
    assert written.iloc[0].tolist() == ["'=x", 1.0, "y"]


def leave(path: Path, age_s: float, *inside: str) -> Path:
    """Leave a file, or a folder with files in it, which nobody has touched for so long."""
    if inside:
        for name in inside:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(name)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    for one in (*path.rglob("*"), path):
        os.utime(one, (time.time() - age_s,) * 2)
    return path


LEFT = f".a.parquet.{'0f' * 16}.tmp"


@pytest.mark.parametrize("place", [".", "tasks", "inbox", "mlflow", "learners/svm", "learners/svm/evaluation"])
def test_what_a_killed_writer_left_is_removed_when_nobody_can_be_writing_it(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    leave(folder / LEFT, 4000)
    leave(folder / f"{LEFT}-journal", 4000)
    leave(folder / ".surrogate-a_b0c1d2", 4000, "fresh/a.json")
    leave(folder / ".a0b1c2d3.tmp", 4000, "surrogate/a.json")
    young = leave(folder / LEFT.replace("0f0f", "1f1f"), 60)
    growing = leave(folder / ".b-a_b0c1d2", 4000, "fresh/a.json")
    (growing / "fresh" / "b.json").write_text("just now")
    remove_leftovers(tmp_path)
    assert names_in(folder) == sorted([young.name, growing.name])


@pytest.mark.parametrize(
    "name",
    ["a.tmp", ".a.tmp", ".lock", ".a.0f.tmp", ".0123456789abcdef.journal.jsonl", "mlflow.db-journal", ".git-12345678"],
)
def test_what_looks_alike_and_is_somebody_elses_stays(tmp_path: Path, name: str) -> None:
    left = leave(tmp_path / name, 1e6, *(["config"] if "git" in name else []))
    inside = leave(tmp_path / "inbox" / "pictures" / LEFT, 1e6)
    remove_leftovers(tmp_path)
    assert left.exists()
    assert inside.exists()


def test_a_folder_that_was_being_replaced_is_put_back(tmp_path: Path) -> None:
    leave(tmp_path / ".surrogate-a_b0c1d2", 4000, "fresh/new", "old-0/old")
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == ["surrogate"]
    assert names_in(tmp_path / "surrogate") == ["new"]


def test_a_folder_that_was_replaced_is_not_replaced_again(tmp_path: Path) -> None:
    leave(tmp_path / "surrogate", 4000, "newest")
    leave(tmp_path / ".surrogate-a_b0c1d2", 4000, "old-0/old", "fresh/new")
    leave(tmp_path / ".surrogate-b_b0c1d2", 4000, "old-0/old")
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == ["surrogate"]
    assert names_in(tmp_path / "surrogate") == ["newest"]


def test_kill_9_of_a_writer_is_cleaned_by_the_next_command(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from metaflow_hpo.adapters.files import write_atomically
write_atomically(Path(sys.argv[1]), lambda path: (path.write_text("half"), os.kill(os.getpid(), signal.SIGKILL)))
"""
    process = run_python(code, str(tmp_path / "a.json"))
    process.communicate(timeout=60)
    assert process.returncode == -9
    (left,) = tmp_path.iterdir()
    os.utime(left, (0, 0))
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == []


def test_nothing_is_removed_where_nothing_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [leave(tmp_path / LEFT, 4000), leave(tmp_path / "tasks" / LEFT, 4000)]

    def refuse(path: Path) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    remove_leftovers(tmp_path)
    assert all(path.exists() for path in left)
    remove_leftovers(tmp_path / "not there")
