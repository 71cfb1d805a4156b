"""How fit and pick of the mixture grow with the number of past tasks: synthetic tasks of 200 trials each.

Run: `python tests/bench/bench_mixture_growth.py [--tasks 125,250,500,1000,2000] [--unshared]`. Prints one line a size:
seconds to see the past tasks from the pool, to fit, a pick on average (of 25), and the process's peak memory.
"""

import argparse
import resource
import sys
import time

import numpy as np

from metaflow_hpo.history import History, TaskTrials
from metaflow_hpo.recommender.observed import Observed
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.space import Float, SearchSpace

TRIALS, DIMENSIONS, META_FEATURES, PICKS = 200, 6, 12, 25


def make_table(tasks: int, *, shared: bool, seed: int = 0) -> History:
    """Quadratic bowls whose optimum follows the meta-features, with noise."""
    rng = np.random.default_rng(seed)
    space = SearchSpace(tuple(Float(f"x{d}", 0.0, 1.0, 0.5) for d in range(DIMENSIONS)))
    points = rng.random((TRIALS if shared else 4 * TRIALS, DIMENSIONS))
    loadings = rng.normal(size=(META_FEATURES, DIMENSIONS)) / META_FEATURES**0.5
    found = []
    for t in range(tasks):
        features = rng.normal(size=META_FEATURES)
        positions = np.arange(TRIALS) if shared else np.sort(rng.permutation(len(points))[:TRIALS])
        optimum = 1.0 / (1.0 + np.exp(-features @ loadings))
        performance = -((points[positions] - optimum) ** 2).sum(axis=1) + 0.01 * rng.normal(size=TRIALS)
        missing = np.full(TRIALS, np.nan)
        found.append(TaskTrials(f"task_{t:05d}", f"task_{t:05d}", features, positions, performance, missing, missing))
    configurations = tuple(space.decode(points))
    names = tuple(f"mf_{m}" for m in range(META_FEATURES))
    return History(space, configurations, names, tuple(found))


def measure(tasks: int, *, shared: bool) -> dict[str, float]:
    """Return processor seconds and peak memory of one size; the last task is the new one."""
    table = make_table(tasks + 1, shared=shared)
    new = table.tasks[-1]
    started = time.process_time()
    past = table.past_tasks(np.arange(tasks), new.positions)
    seen = time.process_time()
    task = Recommender(past).begin(new.meta_features)
    fitted = time.process_time()
    observed = Observed.nothing()
    for _ in range(PICKS):
        (position,) = task.choose(observed, 1)
        observed = observed.with_trial(position, float(new.performance[position]))
    picked = time.process_time()
    return {
        "tasks": tasks,
        "see_s": seen - started,
        "fit_s": fitted - seen,
        "pick_s": (picked - fitted) / PICKS,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "regret": float((new.performance.max() - observed.performance.max()) / np.ptp(new.performance)),
    }


def main() -> None:
    """Print one line a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="125,250,500,1000,2000")
    parser.add_argument("--unshared", action="store_true")
    arguments = parser.parse_args()
    for tasks in map(int, arguments.tasks.split(",")):
        line = measure(tasks, shared=not arguments.unshared)
        sys.stdout.write(" ".join(f"{name}={value:.4g}" for name, value in line.items()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
