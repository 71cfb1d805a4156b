"""Ten tasks searched by a script and by a function, killed at random and resumed, teach the search of an eleventh."""

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import metaflow_hpo as hpo
from metaflow_hpo.adapters.kept_trials import KeptTrials
from metaflow_hpo.modalities.opaque import read_opaque
from tests.live import wait_for
from tests.ten_tasks.digits_learner import CNN
from tests.ten_tasks.tasks import BY_COMMAND, BY_FUNCTION, NEW, TASKS, surroundings, write_task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

TRIALS = 6


def program(folder, *arguments):
    line = [sys.executable, "-m", "metaflow_hpo.cli", *map(str, arguments)]
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, cwd=folder, env=surroundings(folder / "data"), **out)


def run(folder, *arguments):
    process = program(folder, *arguments)
    _, error = process.communicate()
    assert process.returncode == 0, error


def search_killed(folder, path, how, chance):
    """Search a task, kill the search once, and return the trials of the same line again."""
    kept = KeptTrials(folder / "data" / "own" / "search_results")
    task, least = read_opaque(path).task, chance.randrange(1, TRIALS - 2)
    line = ["search", path, *how, "--strategy", "sobol", "--trials", TRIALS, "--output", path.with_suffix(".parquet")]
    process = program(folder, *line)
    wait_for(f"{least} trials of {path.stem}", lambda: len(kept.read_trials(task)) >= least, 1800, 0.02)
    time.sleep(chance.uniform(0, 0.2))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, f"{path.stem} was over before it was killed"
    before = kept.read_trials(task)
    assert least <= len(before) < TRIALS
    run(folder, *line)
    found = pd.read_parquet(path.with_suffix(".parquet"))
    # Trials that were finished were not trained again.
    assert found["duration_s"].tolist()[: len(before)] == [trial.duration_s for trial in before]
    return found


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder, and the trials of ten tasks, every other one by the script and by the function."""
    folder, seed = tmp_path_factory.mktemp("ten"), random.randrange(10**6)
    print(f"\nkilled by the seed {seed}")
    chance, tables = random.Random(seed), []
    for number, (name, (digits, noise)) in enumerate(TASKS.items()):
        path = write_task(folder, name, digits, noise)
        tables.append(search_killed(folder, path, (BY_COMMAND, BY_FUNCTION)[number % 2], chance))
    return folder, pd.concat(tables, ignore_index=True)


def test_killed_searches_have_the_trials_of_an_undisturbed_one_whoever_trains(searched, tmp_path, monkeypatch):
    folder, found = searched
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "data"))
    alone = [hpo.search(folder / f"{name}.yaml", learner=CNN, strategy="sobol", trials=TRIALS).trials for name in TASKS]
    expected = pd.concat(alone, ignore_index=True)
    columns = [column for column in expected.columns if column != "duration_s"]
    pd.testing.assert_frame_equal(found[columns], expected[columns])


def test_what_was_found_makes_the_first_proposal_on_an_eleventh_task_better_than_random(searched):
    folder, found = searched
    found.to_parquet(folder / "ten.parquet")
    run(folder, "fit", "--trials", folder / "ten.parquet", "--output", folder / "learned")
    new = write_task(folder, "eleven", *NEW)
    reached = {}
    for strategy, trials, more in (("recommended", 1, ["--past", folder / "learned"]), ("random", 30, [])):
        output = folder / f"{strategy}.parquet"
        run(folder, "search", new, *BY_FUNCTION, "--strategy", strategy, "--trials", trials, *more, "--output", output)
        reached[strategy] = pd.read_parquet(output)["performance"].fillna(0.0).to_numpy()
    print(f"\nfirst proposal {reached['recommended'][0]:.3f}, random {np.sort(reached['random']).round(3).tolist()}")
    assert reached["recommended"][0] > np.median(reached["random"])
