"""How fast trials are collected: `make bench-collect`, or `python tests/bench/bench_collect.py --output bench.json`.

Ours and its rivals train the same configurations on the same rows for 50 epochs, in turns; each ratio is of two runs
made one after the other. Besides wall-clock time the processor time is compared: it moves little when others use the
machine. "limit" is the ratio of a trainer that makes its matrix products in no more time than alone, and nothing else.

The one thing to know: BLAS chooses its kernels itself here. Settings of OpenBLAS in the environment, which exist to
make machines alike, are removed for ours and for the rivals.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_BLAS_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_POOL = 256
PARTS = ("ratios", "growth", "memory", "networks")
TASKS = ("wine", "breast_cancer", "digits")
COUNTS = {
    "small": {"wine": 24, "breast_cancer": 12, "digits": 8},
    "whole": {"wine": 12, "breast_cancer": 8, "digits": 6},
}
"""Configurations paired: of 256 random ones those in the middle of equal shares of the cost."""
_TIMED_S = 0.5


@dataclass(frozen=True)
class Seconds:
    """What a run took, wall-clock and of all processors."""

    wall: float
    processor: float


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="wine only, few configurations, two repetitions")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--spaces", nargs="+", choices=list(COUNTS), default=list(COUNTS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--share", type=float, default=1.0, help="of the configurations, where time is short")
    parser.add_argument("--output", type=Path, help="JSON file of all that was measured")
    arguments = parser.parse_args()
    if any(name in os.environ for name in _BLAS_SETTINGS):  # read when the library is loaded: start again without
        kept = {name: value for name, value in os.environ.items() if name not in _BLAS_SETTINGS}
        os.execve(sys.executable, [sys.executable, *sys.argv], kept)  # noqa: S606
    if arguments.quick:
        arguments.tasks, arguments.repetitions, arguments.share = ["wine"], 2, 0.25
    result: dict[str, Any] = {"machine": describe_machine()}
    print(json.dumps(result["machine"]))
    if "ratios" in arguments.parts:
        result["ratios"] = []
        for row in compare_all(arguments):
            row["peak_fraction"] = row["gflops_per_processor"] / result["machine"]["peak_gflops_1"]
            show(row)
            result["ratios"].append(row)
            save(result, arguments.output)
    if "growth" in arguments.parts:
        from bench_growth import measure_growth, show_growth

        result["growth"] = measure_growth(repetitions=2 if arguments.quick else 5)
        show_growth(result["growth"])
    if "memory" in arguments.parts:
        from bench_growth import measure_memory

        result["memory"] = measure_memory(rows=5_000 if arguments.quick else 50_000)
        print(f"Peak memory, {result['memory']['rows']:,} x 100: {result['memory']['peak_mb']:.0f} MB (target < 2,048)")
    if "networks" in arguments.parts:
        from bench_networks import measure_networks, show_networks

        result["networks"] = measure_networks(repetitions=1 if arguments.quick else 3)
        show_networks(result["networks"])
    save(result, arguments.output)


def save(result: dict[str, Any], output: Path | None) -> None:
    """Write what has been measured so far."""
    if output is not None:
        output.write_text(json.dumps(result, indent=1), encoding="utf-8")


def describe_machine() -> dict[str, Any]:
    """Return the processors, the BLAS of the kernels, and the GEMM peak on one and on two threads."""
    from bench_roofline import measure_peak
    from threadpoolctl import threadpool_info

    peaks = {f"peak_gflops_{threads}": measure_peak(threads) / 1e9 for threads in (1, 2)}
    libraries = {(i["prefix"], i.get("architecture", "")) for i in threadpool_info() if i["user_api"] == "blas"}
    return {"processors": os.cpu_count(), "python": platform.python_version(), "blas": sorted(libraries), **peaks}


def choose_work(task: str, space: str, count: int) -> Any:
    """Return the work: configurations that span the costs, longest first, all of which train to the end."""
    from bench_contestants import EPOCHS, SPACES, Work, train_ours

    from metaflow_hpo.adapters.sources.builtin import builtin_specs, load_builtin
    from metaflow_hpo.collect.strategies.registry import make_strategy
    from metaflow_hpo.collect.strategies.strategy import StrategyContext
    from metaflow_hpo.learners.folds import make_folds
    from metaflow_hpo.learners.mlp.recipe import make_recipe

    spec = next(s for s in builtin_specs(("scikit-learn",)) if s.path == task)
    fold = make_folds(load_builtin(spec))[-1]
    drawn = make_strategy("random", StrategyContext(SPACES[space], seed=1)).ask(_POOL)
    drawn.sort(key=lambda configuration: make_recipe(configuration, fold, 1).cost, reverse=True)
    chosen = [drawn[int((index + 0.5) * len(drawn) / count)] for index in range(count)]
    epochs = train_ours(Work(task, space, fold, tuple(chosen)), 2)
    complete = [c for c, trained in zip(chosen, epochs, strict=True) if trained == EPOCHS]
    return Work(task, space, fold, tuple(complete))


def compare_all(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Compare ours with every rival on every task and space, and yield each row as soon as it is there."""
    from bench_contestants import RIVALS
    from rich.console import Console
    from rich.progress import Progress

    rivals = sum(space in rival.targets for rival in RIVALS for space in arguments.spaces)
    total = rivals * len(arguments.tasks) * arguments.repetitions
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("ratios", total=total)
        for space in arguments.spaces:
            for task in arguments.tasks:
                work = choose_work(task, space, max(round(arguments.share * COUNTS[space][task]), 2))
                progress.update(bar, description=f"{task}, {space} space")
                yield compare(work, arguments.repetitions, lambda: progress.advance(bar))


def compare(work: Any, repetitions: int, on_pair: Callable[[], None]) -> dict[str, Any]:
    """Time ours and each rival in turns.

    Returns:
        Rates of ours, the limit set by its matrix products, and for each rival the ratios of all repetitions.
    """
    from bench_contestants import EPOCHS, RIVALS, train_ours
    from bench_roofline import count_operations, time_products

    from metaflow_hpo.learners.mlp.recipe import make_recipe

    first = timed(lambda: train_ours(work, 2))
    times = max(1, round(_TIMED_S / first.wall))
    chosen = [(rival, *choose_variant(rival, work)) for rival in RIVALS if work.space in rival.targets]
    ours: list[Seconds] = []
    pairs: dict[str, list[tuple[Seconds, Seconds]]] = {rival.name: [] for rival, *_ in chosen}
    unequal: dict[str, int] = {}
    products: list[float] = []
    for _ in range(repetitions):
        products.append(time_products(work))
        for rival, _, train, _ in chosen:
            whole = timed(lambda: [train_ours(work, 2) for _ in range(times)])
            ours.append(Seconds(whole.wall / times, whole.processor / times))
            epochs: list[int] = []
            theirs = timed(lambda train=train, epochs=epochs: epochs.extend(train(work)))
            unequal[rival.name] = sum(count != EPOCHS for count in epochs)
            pairs[rival.name].append((ours[-1], theirs))
            on_pair()
    shape, count = (len(work.fold.x_train), len(work.fold.x_valid)), len(work.configurations)
    recipes = [make_recipe(configuration, work.fold, EPOCHS) for configuration in work.configurations]
    operations = sum(count_operations(recipe, *shape) for recipe in recipes)
    wall, processor = (statistics.median(getattr(run, name) for run in ours) for name in ("wall", "processor"))
    limit = statistics.median(products)
    return {
        "task": work.task, "space": work.space, "configurations": count,
        "rows": shape[0], "columns": recipes[0].widths[0],
        "configurations_per_s": count / wall, "configurations_per_processor_s": count / processor,
        "gflops": operations / wall / 1e9, "gflops_per_processor": operations / processor / 1e9,
        "products_only_gflops": operations / limit / 1e9, "products_share": limit / processor,
        "processors_got": processor / wall,
        "rivals": [
            {
                "name": rival.name, "variant": variant, "target": rival.targets[work.space],
                "stopped_early": unequal[rival.name], **summarise(pairs[rival.name], processors, limit),
            }
            for rival, variant, _, processors in chosen
        ],
    }  # fmt: skip


def choose_variant(rival: Any, work: Any) -> tuple[str, Callable[[Any], list[int]], int]:
    """Return the fastest variant of a rival on the longest, the middle and the shortest configuration."""
    from dataclasses import replace

    variants = [v for v in rival.variants if work.space == "whole" or not v[0].startswith("2 torch")]
    picked = tuple(work.configurations[index] for index in (0, len(work.configurations) // 2, -1))
    probe = replace(work, configurations=picked)
    variants[0][1](replace(work, configurations=picked[-1:]))  # imports, processes
    took = [timed(lambda variant=variant: variant[1](probe)).wall for variant in variants]
    return variants[int(np.argmin(took))]


def summarise(pairs: list[tuple[Seconds, Seconds]], processors: int, limit: float) -> dict[str, Any]:
    """Return median and range of the ratio of wall-clock times, and the ratio that idle processors would give.

    The latter divides processor time by the processors that a side can use, two for ours, as if it kept them busy; the
    highest possible one is that of a trainer which does nothing but the matrix products.
    """
    wall = [theirs.wall / ours.wall for ours, theirs in pairs]
    idle = [theirs.processor / processors / (ours.processor / 2) for ours, theirs in pairs]
    highest = [theirs.processor / processors / (limit / 2) for _, theirs in pairs]
    return {
        "wall_ratio": statistics.median(wall), "wall_ratios": wall,
        "idle_ratio": statistics.median(idle), "idle_ratios": idle,
        "highest_ratio": statistics.median(highest),
        "wall_s": statistics.median(theirs.wall for _, theirs in pairs),
        "processors_got": statistics.median(theirs.processor / theirs.wall for _, theirs in pairs),
    }  # fmt: skip


def timed(run: Callable[[], Any]) -> Seconds:
    """Return what a run took; the processor time is that of this process and of those it started."""
    processor, began = _processor_s(), time.perf_counter()
    run()
    return Seconds(time.perf_counter() - began, _processor_s() - processor)


def _processor_s() -> float:
    import psutil

    me = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (me, *me.children(recursive=True)))


def show(row: dict[str, Any]) -> None:
    """Print what was measured on one task and space."""
    rate, got, own, alone = (
        row[k] for k in ("gflops", "processors_got", "gflops_per_processor", "products_only_gflops")
    )
    print(
        f"\n{row['task']} ({row['rows']} x {row['columns']}), {row['space']} space, {row['configurations']} paired: "
        f"ours {row['configurations_per_s']:.1f} configurations/s, {rate:.0f} GFLOP/s ({got:.2f} processors got); "
        f"a processor {own:.0f} ({row['peak_fraction']:.0%} of the GEMM peak), its matrix products alone {alone:.0f} "
        f"({row['products_share']:.0%} of its time)"
    )
    print(f"{'':42} {'wall-clock (range)':>26} {'idle (range)':>24} {'limit':>6} {'target':>7}")
    for rival in row["rivals"]:
        wall, idle = (f"{min(rival[k]):.1f}-{max(rival[k]):.1f}" for k in ("wall_ratios", "idle_ratios"))
        note = f"  {rival['stopped_early']} stopped early" if rival["stopped_early"] else ""
        print(
            f"{rival['name']:42} {rival['wall_ratio']:8.1f}x {'(' + wall + ')':>16} {rival['idle_ratio']:7.1f}x "
            f"{'(' + idle + ')':>15} {rival['highest_ratio']:6.1f} {rival['target']:6}x  {rival['variant']}{note}",
            flush=True,
        )


if __name__ == "__main__":
    main()
