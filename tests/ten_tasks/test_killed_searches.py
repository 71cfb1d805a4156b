"""A script and a function are searched on ten tasks, killed at random and resumed, and teach an eleventh search."""

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.adapters.kept_trials import KeptTrials
from metaflow_hpo.modalities.opaque import read_opaque
from tests.live import wait_for
from tests.ten_tasks.tasks import BY_COMMAND, BY_FUNCTION, NEW, TASKS, surroundings, write_task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

TRIALS = 8


def program(folder, *arguments):
    line = [sys.executable, "-m", "metaflow_hpo.cli", *map(str, arguments)]
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, cwd=folder, env=surroundings(folder / "data"), **out)


def run(folder, *arguments):
    process = program(folder, *arguments)
    out, error = process.communicate()
    assert process.returncode == 0, error
    return out


def kept(folder, path):
    return len(KeptTrials(folder / "data" / "own" / "search_results").read_trials(read_opaque(path).task))


def search_ten(folder, how, chance):
    """Search all tasks, killing each search once, and return the trials."""
    folder.mkdir()
    tables = []
    for name, (digits, noise) in TASKS.items():
        path = write_task(folder, name, digits, noise)
        line = ["search", path, *how, "--strategy", "sobol", "--trials", TRIALS, "--output", folder / f"{name}.parquet"]
        process, least = program(folder, *line), chance.randrange(1, TRIALS - 2)
        wait_for(f"{least} trials of {name}", lambda p=path, n=least: kept(folder, p) >= n, 1800, 0.02)
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"{name} was over before it was killed"
        before = kept(folder, path)
        assert least <= before < TRIALS
        run(folder, *line)
        found = pd.read_parquet(folder / f"{name}.parquet")
        assert len(found) == TRIALS
        assert found["status"].eq("ok").all(), found["reason"].tolist()
        tables.append(found)
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    seed = random.randrange(10**6)
    print(f"\nkilled by the seed {seed}")
    folder, chance = tmp_path_factory.mktemp("ten"), random.Random(seed)
    return folder, {how[0]: search_ten(folder / how[0][2:], how, chance) for how in (BY_FUNCTION, BY_COMMAND)}


def test_a_killed_search_has_the_same_trials_whoever_trains(searched):
    function, command = (table.drop(columns="duration_s") for table in searched[1].values())
    pd.testing.assert_frame_equal(function, command)


def test_what_was_found_makes_the_first_proposal_on_an_eleventh_task_better_than_random(searched):
    folder, tables = searched[0], searched[1]
    tables["--command"].to_parquet(folder / "ten.parquet")
    run(folder, "fit", "--trials", folder / "ten.parquet", "--output", folder / "learned")
    new = write_task(folder, "eleven", *NEW)
    found = {}
    for strategy, trials, more in (("recommended", 1, ["--past", folder / "learned"]), ("random", 30, [])):
        output = folder / f"{strategy}.parquet"
        run(folder, "search", new, *BY_FUNCTION, "--strategy", strategy, "--trials", trials, *more, "--output", output)
        found[strategy] = pd.read_parquet(output)["performance"].fillna(0.0).to_numpy()
    print(f"\nfirst proposal {found['recommended'][0]:.3f}, random {np.sort(found['random']).round(3).tolist()}")
    assert found["recommended"][0] > np.median(found["random"])
