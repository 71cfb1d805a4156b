"""Trials are kept by the content of their task: whatever files are called, and whoever writes at the same time."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from metaflow_hpo.adapters.files import write_frame
from metaflow_hpo.adapters.kept_trials import KeptTrials
from metaflow_hpo.errors import InvalidTableError
from tests.adapters.test_store import make_task, make_trials


@pytest.fixture
def kept(tmp_path: Path) -> KeptTrials:
    return KeptTrials(tmp_path / "search_results")


def test_two_tables_of_one_name_keep_their_trials(kept: KeptTrials) -> None:
    one, other = make_task("train"), make_task("train", seed=1)
    kept.write_trials(one.task, make_trials(one, 12))
    kept.write_trials(other.task, make_trials(other, 3))
    assert [t.key for t in kept.read_trials(one.task)] == [t.key for t in make_trials(one, 12)]
    assert len(kept.read_trials(other.task)) == 3


def test_a_killed_search_goes_on_whatever_was_searched_in_between(kept: KeptTrials) -> None:
    killed, other = make_task("train"), make_task("train", seed=1)
    for trial in make_trials(killed, 30):
        kept.append_trial(killed.task, trial)
    kept.write_trials(other.task, make_trials(other, 2))
    assert len(kept.read_trials(killed.task)) == 30
    assert kept.has_journal(killed.task)


def test_a_table_under_another_name_has_the_trials_of_the_first_one(kept: KeptTrials) -> None:
    first, renamed = make_task("train"), make_task("copy_of_train")
    assert first.task.sha256 == renamed.task.sha256
    kept.write_trials(first.task, make_trials(first))
    found = kept.read_trials(renamed.task)
    assert {trial.task_id for trial in found} == {"copy_of_train"}
    assert len(found) == 3
    kept.write_trials(renamed.task, found)
    assert len(list(kept.folder.glob("*.parquet"))) == 1


@pytest.mark.parametrize("name", ["a", "a_b", "x" * 80, "1", "a.b", "a-b"])
def test_tasks_of_any_name_have_a_table_of_their_own(kept: KeptTrials, name: str) -> None:
    tables = {seed: replace(make_task("t", seed).task, task_id=name) for seed in range(3)}
    for seed, task in tables.items():
        kept.write_trials(task, [replace(t, task_id=name) for t in make_trials(make_task("t", seed), seed + 1)])
    assert [len(kept.read_trials(task)) for task in tables.values()] == [1, 2, 3]


def test_a_table_that_an_older_version_named_by_the_task_is_read_where_it_is_of_these_rows(kept: KeptTrials) -> None:
    data, other = make_task(), make_task(seed=1)
    frame = kept.write_trials(data.task, make_trials(data))
    kept.drop(data.task)
    write_frame(kept.folder / "mine.parquet", frame)
    assert len(kept.read_trials(data.task)) == 3
    assert kept.read_trials(other.task) == []


def test_trials_of_a_learner_that_cannot_be_found_by_its_name_are_kept(kept: KeptTrials) -> None:
    data = make_task()
    own = [replace(trial, learner="my_own", configuration={"x": [64, 128]}) for trial in make_trials(data, 1)]
    kept.write_trials(data.task, own)
    kept.write_trials(data.task, make_trials(data, 4))
    assert sorted(trial.learner for trial in kept.read_trials(data.task)) == ["my_own"] + ["svm"] * 4


def test_two_searches_at_once_keep_every_trial(kept: KeptTrials) -> None:
    code = """
import sys
from pathlib import Path
from metaflow_hpo.adapters.kept_trials import KeptTrials
from tests.adapters.test_store import make_task, make_trials
kept, data = KeptTrials(Path(sys.argv[1])), make_task()
first = int(sys.argv[2])
mine = make_trials(data, 20)[first : first + 10]
for trial in mine:
    kept.append_trial(data.task, trial)
kept.write_trials(data.task, mine)
"""
    both = [subprocess.Popen([sys.executable, "-c", code, str(kept.folder), start]) for start in ("0", "10")]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    data = make_task()
    assert {t.key for t in kept.read_trials(data.task)} == {t.key for t in make_trials(data, 20)}


@pytest.mark.parametrize("content", [b"", b"{}", b"PAR1", b"x" * 100])
def test_a_damaged_table_is_refused_with_what_to_do(kept: KeptTrials, content: bytes) -> None:
    data = make_task()
    kept.write_trials(data.task, make_trials(data))
    kept.path(data.task).write_bytes(content)
    with pytest.raises(InvalidTableError, match="Delete it and search again"):
        kept.read_trials(data.task)


def test_a_journal_of_something_else_is_refused(kept: KeptTrials) -> None:
    data = make_task()
    kept.append_trial(data.task, make_trials(data)[0])
    (journal,) = kept.folder.glob(".*.jsonl")
    journal.write_text('{"n": 1}\n{"n": 2}\n')
    with pytest.raises(InvalidTableError, match=r"Expected a trial in each line of .*Delete it and search again"):
        kept.read_trials(data.task)
