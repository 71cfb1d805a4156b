import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from metaflow_hpo.adapters.journal import Journal
from metaflow_hpo.errors import InvalidTableError


def test_a_journal_keeps_records_in_order_with_nan_and_infinity(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new" / "journal.jsonl")
    assert journal.read() == []
    journal.append({"performance": float("nan"), "n": np.int64(1), "curve": np.array([0.5, 1.0])})
    journal.append({"performance": math.inf, "n": 2, "reason": "line\nbreak \x85"})
    first, second = journal.read()
    assert math.isnan(first.pop("performance"))
    assert first == {"n": 1, "curve": [0.5, 1.0]}
    assert second == {"performance": math.inf, "n": 2, "reason": "line\nbreak \x85"}
    journal.remove()
    journal.remove()
    assert journal.read() == []


@pytest.mark.parametrize("torn", [b'{"n": 3', b"\0" * 100, b'{"n": 3}', b"\xff", b'{"n"\n', b"[3]\n"])
def test_a_torn_last_line_is_left_out(tmp_path: Path, torn: bytes) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"n": 1})
    journal.append({"n": 2})
    with journal.path.open("ab") as file:
        file.write(torn)
    assert journal.read() == [{"n": 1}, {"n": 2}]
    assert journal.path.read_bytes().endswith(torn)  # another process may be about to finish it


@pytest.mark.parametrize("size", [1, 65536, 200_000])
def test_appending_after_a_crash_cuts_the_unfinished_line_first(tmp_path: Path, size: int) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"n": 1})
    with journal.path.open("ab") as file:
        file.write(b"x" * size)
    journal.append({"n": 2})
    assert journal.read() == [{"n": 1}, {"n": 2}]
    journal.path.write_bytes(b"y" * size)
    journal.append({"n": 3})
    assert journal.read() == [{"n": 3}]


def test_a_torn_line_before_the_last_raises(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.path.write_text('{"n": 1}\n{"n"\n{"n": 3}\n')
    with pytest.raises(InvalidTableError, match="expected a JSON object, as it was written, on line 2 of 3"):
        journal.read()


def test_a_line_of_an_older_version_has_no_check_sum_and_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.path.write_text('{"n": 1}\n')
    journal.append({"n": 2})
    assert journal.read() == [{"n": 1}, {"n": 2}]


def test_no_damaged_byte_changes_what_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    records = [{"performance": 0.91, "n": 1}, {"performance": 0.82, "n": 2}]
    for record in records:
        journal.append(record)
    whole = journal.path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        journal.path.write_bytes(damaged)
        try:
            found = journal.read()
        except InvalidTableError:
            continue
        shown = [{name: record.get(name) for name in ("performance", "n")} for record in found]
        assert all(record in records for record in shown)


def test_two_processes_append_to_one_journal_and_no_record_is_lost(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from metaflow_hpo.adapters.journal import Journal
for n in range(60):
    Journal(Path(sys.argv[1])).append({"who": sys.argv[2], "n": n, "curve": [0.5] * 3000})
"""
    path = tmp_path / "journal.jsonl"
    both = [subprocess.Popen([sys.executable, "-c", code, str(path), who]) for who in "ab"]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    records = Journal(path).read()
    assert sorted((record["who"], record["n"]) for record in records) == [(who, n) for who in "ab" for n in range(60)]


def test_a_record_that_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(TypeError, match="found object"):
        journal.append({"n": object()})
    assert not journal.path.exists()


def test_after_kill_9_the_journal_holds_every_record_that_was_acknowledged(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    code = """
import sys
from pathlib import Path
from metaflow_hpo.adapters.journal import Journal
journal, n = Journal(Path(sys.argv[1])), 0
while True:
    journal.append({"n": n, "curve": [0.5] * 2000})
    print(n, flush=True)
    n += 1
"""
    command = [sys.executable, "-c", code, str(journal.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate()
    acknowledged += [int(line) for line in rest.splitlines()]
    records = [record["n"] for record in journal.read()]
    assert records[: len(acknowledged)] == acknowledged
    assert len(records) <= len(acknowledged) + 1
    journal.append({"n": "after"})
    assert journal.read()[-1] == {"n": "after"}
