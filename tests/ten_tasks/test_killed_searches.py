"""Ten tasks searched by a function and by a script, killed at random and resumed, teach the search of an eleventh."""

import multiprocessing
import os
import random
import signal
import sys
import time

import numpy as np
import pandas as pd
import pytest

import metaflow_hpo as hpo
from metaflow_hpo import cli
from metaflow_hpo.adapters.kept_trials import KeptTrials
from metaflow_hpo.modalities.opaque import read_opaque
from tests.live import wait_for
from tests.ten_tasks.digits_learner import CNN
from tests.ten_tasks.tasks import BY_COMMAND, BY_FUNCTION, HERE, NEW, TASKS, surroundings, write_task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

TRIALS = 5
BY_SCRIPT = ("two", "three")


def start(folder, *arguments):
    """Start the program in a process of its own: a fork, which need not import PyTorch again."""

    def call():
        os.chdir(folder)
        os.environ.update(surroundings(folder / "data"))
        sys.path.insert(0, str(HERE))
        sys.argv = ["metaflow-hpo", *map(str, arguments)]
        cli.main()

    process = multiprocessing.get_context("fork").Process(target=call)
    process.start()
    return process


def run(folder, *arguments):
    process = start(folder, *arguments)
    process.join()
    assert process.exitcode == 0, arguments


def search_killed(folder, path, how, chance):
    """Search a task, kill the search once, and return the trials of the same line again."""
    kept = KeptTrials(folder / "data" / "own" / "search_results")
    task, least = read_opaque(path).task, chance.randrange(1, TRIALS - 2)
    output = path.with_suffix(".parquet")
    line = ["search", path, *how, "--strategy", "sobol", "--trials", TRIALS, "--refit", "all", "--output", output]
    process = start(folder, *line)
    wait_for(f"{least} trials of {path.stem}", lambda: len(kept.read_trials(task)) >= least, 1800, 0.005)
    time.sleep(chance.uniform(0, 0.05))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"{path.stem} was over before it was killed"
    before = kept.read_trials(task)
    assert least <= len(before) < TRIALS
    run(folder, *line)
    found = pd.read_parquet(output)
    # Trials that were finished were not trained again.
    assert found["duration_s"].tolist()[: len(before)] == [trial.duration_s for trial in before]
    print(f"{path.stem}: killed after {len(before)} of {TRIALS} trials, resumed")
    return found


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder, the trials of searches that were killed, and those of undisturbed ones by the function."""
    folder, seed = tmp_path_factory.mktemp("ten"), random.randrange(10**6)
    print(f"\nkilled by the seed {seed}")
    chance, tables = random.Random(seed), []
    paths = [write_task(folder, name, *TASKS[name]) for name in sorted(TASKS, key=BY_SCRIPT.__contains__)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METAFLOW_HPO_DATA", str(folder / "undisturbed"))
        asked = {"learner": CNN, "strategy": "sobol", "trials": TRIALS, "refit": "all"}
        undisturbed = [hpo.search(path, **asked).trials for path in paths]
    for path in paths:
        how = BY_COMMAND if path.stem in BY_SCRIPT else BY_FUNCTION
        tables.append(search_killed(folder, path, how, chance))
    return folder, pd.concat(tables, ignore_index=True), pd.concat(undisturbed, ignore_index=True)


def test_killed_searches_have_the_trials_of_undisturbed_ones_whoever_trains(searched):
    _, found, expected = searched
    columns = [column for column in expected.columns if column not in ("duration_s", "learning_curve")]
    pd.testing.assert_frame_equal(found[columns], expected[columns])
    assert found["learning_curve"].map(list).tolist() == expected["learning_curve"].map(list).tolist()


def test_what_was_found_makes_the_first_proposal_on_an_eleventh_task_better_than_random(searched):
    folder, found, _ = searched
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
