"""Interrupts: commands are killed at random moments, two at a time on one data folder, and run again.

    make interrupts                               50 of a first run, 50 of later commands: an hour
    python tests/soak/interrupts.py --first 4 --later 6

Nothing may be lost or broken, and the tables at the end must be those of a folder in which nothing was interrupted.
Exit code 1 says that something did not hold.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

import deliveries  # noqa: E402
import forked  # noqa: E402
from forked import Interrupt, Running  # noqa: E402

EPOCHS = "2"
TASKS = 3
LEARNER = "slope:LEARNER"
KEY = ["task_sha256", "learner", "configuration_id", "strategy", "seed", "performance", "status"]
Command = Sequence[str]


def say(text: str) -> None:
    """Print a line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Folder:
    """A data folder, and the files that the commands on it are about.

    Args:
        path: Where; it is made.
        learner: The learner of the settings.
    """

    def __init__(self, path: Path, learner: str = "mlp") -> None:
        self.path = path
        self.data = path / "data"
        path.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "METAFLOW_HPO_DATA": str(self.data),
            "METAFLOW_HPO_FIDELITY_EPOCHS": EPOCHS,
            "METAFLOW_HPO_TASKS": "[]",
            "METAFLOW_HPO_LEARNER": learner,
            "METAFLOW_HPO_ACCELERATOR": "cpu",
        }
        for number in range(2):
            deliveries.make_table(500 + number).to_csv(path / f"table_{number}.csv", index=False)
        for number in range(3):
            deliveries.make_table(600 + number).to_csv(path / f"added_{number}.csv", index=False)
        for number in range(TASKS):
            text = f"task_id: slope_{number}\nfamily: slope_{number}\nmetric: accuracy\ndata: '0.{number + 2}'\n"
            (path / f"slope_{number}.yaml").write_text(text)

    def start(self, command: Command, interrupt: Interrupt | None = None) -> Running:
        """Start a command here."""
        return forked.start(command, self.environment, self.path, interrupt)

    def run(self, *commands: Command) -> list[Running]:
        """Run commands at once, to their end.

        Raises:
            RuntimeError: One fails.
        """
        running = [self.start(command) for command in commands]
        forked.wait(running)
        for one in running:
            if one.code:
                raise RuntimeError(f"{' '.join(one.arguments)} ended with {one.code}:\n{one.said()}")
        return running

    def trials(self) -> Any:
        """Return all kept trials, with `duration_s`, by which a trial is known as itself, and `test_performance`."""
        return forked.ask(lambda: _read_trials(self.data), self.environment)


def _read_trials(data: Path) -> Any:
    import pandas as pd

    from metaflow_hpo.actions.own_history import SEARCH, kept
    from metaflow_hpo.adapters.kept_trials import to_frame
    from metaflow_hpo.adapters.pipeline import Pipeline
    from metaflow_hpo.modalities.registry import read_source
    from metaflow_hpo.settings import Settings

    store = kept(Pipeline(Settings.load()), SEARCH)
    frames, columns = [], [*KEY, "duration_s", "test_performance"]
    for path in sorted([*data.parent.glob("table_*.csv"), *data.parent.glob("slope_*.yaml")]):
        task = read_source(path).task
        found = store.read_trials(task)
        if found:
            frames.append(to_frame(task, found)[columns])
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    return frame.sort_values([*KEY, "duration_s"], ignore_index=True)


def differences(found: Any, expected: Any, what: str, columns: Sequence[str] | None = None) -> Iterator[str]:
    """Yield how a table differs from the one of a folder in which nothing was interrupted."""
    if found is None or expected is None:
        if found is not expected:
            yield f"{what}: one of the two is missing"
        return
    columns = list(expected.columns if columns is None else columns)
    mine, right = (frame[columns].astype(object).where(frame[columns].notna(), None) for frame in (found, expected))
    rows, wanted = (Counter(map(tuple, frame.to_numpy().tolist())) for frame in (mine, right))
    if rows != wanted:
        yield f"{what}: {sum((wanted - rows).values())} lines are missing, {sum((rows - wanted).values())} are others"


def lost(before: Any, after: Any) -> Iterator[str]:
    """Yield how many trials that were kept are gone, or were trained again."""
    gone = []
    first, then = (frame.astype(object).where(frame.notna(), None).to_numpy().tolist() for frame in (before, after))
    now = {tuple(line[:-2]): line[-2:] for line in then}
    for *key, duration_s, test_performance in first:
        then_s, then_test = now.get(tuple(key), (None, None))
        # The best one may have been trained on all rows as well since, which takes its time.
        is_refitted = then_test is not None and test_performance is None
        if then_s != duration_s and not (is_refitted and then_s > duration_s):
            gone.append((*key, duration_s))
    if gone:
        yield f"{len(gone)} of {len(first)} kept trials are gone or were trained again: {gone[:2]}"


class Soak:
    """Interrupts commands and keeps what was wrong.

    Args:
        folder: Where data folders are made.
        seed: Of the moments.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.problems: list[str] = []
        self.hits: Counter[str] = Counter()
        self.sizes: dict[str, tuple[float, int]] = {}

    def note(self, problems: Iterator[str], where: str) -> None:
        """Keep what was wrong."""
        for problem in problems:
            self.problems.append(f"{where}: {problem}")
            say(f"PROBLEM {self.problems[-1]}")

    def learn(self, running: Sequence[Running]) -> None:
        """Keep how long commands take here, and how many files they change; import what they do."""
        for one in running:
            if one.code == 0 and one.arguments[0] not in self.sizes:
                forked.import_modules(one.modules())
            if one.code == 0 and one.changes():
                self.sizes[one.arguments[0]] = one.seconds, one.changes()

    def draw(self, command: Command) -> Interrupt:
        """Draw how a command is interrupted."""
        return Interrupt.draw(self.chance, *self.sizes.get(command[0], (8.0, 60)))

    def interrupt(self, folder: Folder, commands: Sequence[Command], where: str) -> int:
        """Start commands at once and interrupt each; return how many were hit while they ran."""
        before = folder.trials()
        running = [folder.start(command, self.draw(command)) for command in commands]
        forked.wait(running)
        hits = 0
        for one in running:
            if one.was_hit and one.code != 0:
                hits += 1
                how = "second" if one.interrupt is not None and one.interrupt.change is None else "change"
                self.hits[f"{one.arguments[0]} {one.interrupt.signal.name if one.interrupt else ''} {how}"] += 1
            elif one.code:
                self.note(iter([f"{' '.join(one.arguments)} ended with {one.code}:\n{one.said()}"]), where)
        self.learn(running)
        self.note(lost(before, folder.trials()), where)
        return hits

    def again(self, folder: Folder, commands: Sequence[Command], where: str) -> None:
        """Run what was interrupted again, at once, to its end."""
        before = folder.trials()
        running = [folder.start(command) for command in commands]
        forked.wait(running)
        for one in running:
            if one.code:
                self.note(
                    iter([f"{' '.join(one.arguments)} ended with {one.code} after interrupts:\n{one.said()}"]), where
                )
        self.learn(running)
        self.note(lost(before, folder.trials()), where)


def first_runs(soak: Soak, count: int) -> None:
    """Interrupt first runs: two searches at once in an empty folder, on one table or on two."""
    own = ["--learner", LEARNER, "--strategy", "random", "--trials", "12"]
    search = ["search", "slope_0.yaml", *own]
    same = [search, [*search[:-1], "18"]]
    other = [search, ["search", "slope_1.yaml", *own]]
    expected = {name: _reference(soak, name, pair) for name, pair in (("same", same), ("other", other))}
    done = number = 0
    while done < count:
        number += 1
        name, pair = (("same", same), ("other", other))[number % 2]
        folder = Folder(soak.folder / f"first_{number}")
        where = f"first run {number}"
        hits = soak.interrupt(folder, pair, where)
        if hits and soak.chance.random() < 0.3 and done + hits < count:
            hits += soak.interrupt(folder, pair, where)
        done += hits
        soak.again(folder, pair, where)
        soak.note(differences(folder.trials(), expected[name], "trials", KEY), where)
        soak.note(_runs_are_whole(folder, 2), where)
        say(f"first run {number}: {done} of {count} interrupts, {len(soak.problems)} problems")
        shutil.rmtree(folder.path)


def _reference(soak: Soak, name: str, pair: Sequence[Command]) -> Any:
    folder = Folder(soak.folder / f"first_{name}")
    soak.learn(folder.run(*pair))
    return folder.trials()


def _runs_are_whole(folder: Folder, count: int) -> Iterator[str]:
    """The searches are finished runs of MLflow, each once."""

    def read() -> list[tuple[str, str]]:
        from metaflow_hpo.adapters.pipeline import Pipeline
        from metaflow_hpo.settings import Settings

        client = Pipeline(Settings.load()).tracking.client()
        experiment = client.get_experiment_by_name("metaflow_hpo/search")
        found = client.search_runs([experiment.experiment_id])
        return [(run.info.run_name, run.info.status) for run in found]

    runs = forked.ask(read, folder.environment)
    finished = [name for name, status in runs if status == "FINISHED"]
    if len(finished) != count or len(runs) != count:
        yield f"expected {count} finished runs of searches; found {runs}"


def later_commands(trials: int) -> dict[str, Command]:
    """Return the commands that are interrupted on a folder that knows something, by name."""
    own = {
        f"search slope_{number}": [
            *("search", f"slope_{number}.yaml", "--learner", LEARNER),
            *("--strategy", "random", "--trials", str(trials), "--seed", str(number)),
        ]
        for number in range(TASKS)
    }
    table = ["search", "table_0.csv", "--target", "y", "--strategy", "sobol", "--trials", "6", "--learner", "mlp"]
    added = {f"add {n}": ["add", f"added_{n}.csv", "--target", "y"] for n in range(3)}
    learned: dict[str, Command] = {
        "fit": ["fit", "--learner", LEARNER],
        "evaluate": ["evaluate", "--learner", LEARNER],
        "promote": ["promote", "1", "--learner", LEARNER],
    }
    return {**own, "search table": table, **added, **learned}


def later_runs(soak: Soak, count: int) -> None:
    """Interrupt search, add, fit, evaluate and promote, two at a time, on one folder that knows something."""
    base = Folder(soak.folder / "base", "slope:LEARNER")
    few = later_commands(8)
    for name in [*(one for one in few if one.startswith("search slope")), "fit", "evaluate"]:
        soak.learn(base.run(few[name]))
    whole, folder = (_copy(base, soak.folder / name) for name in ("later_whole", "later"))
    commands = later_commands(20)
    for command in _in_order(commands):
        soak.learn(whole.run(command))
    done = number = 0
    weights = {name: 3 if name in {"fit", "evaluate", "promote"} else 2 for name in commands}
    while done < count:
        number += 1
        chosen = soak.chance.choices(list(weights), list(weights.values()), k=2)
        pair = [commands[name] for name in chosen]
        where = f"later {number}, {' and '.join(chosen)}"
        done += soak.interrupt(folder, pair, where)
        soak.note(_answers(folder), where)
        say(f"later {number}: {done} of {count} interrupts, {len(soak.problems)} problems")
    for command in _in_order(commands):
        soak.again(folder, [command], "at the end")
    found, expected = (forked.ask(lambda one=one: _read_tables(one.data), one.environment) for one in (folder, whole))
    for name, frame in expected.items():
        soak.note(differences(found.get(name), frame, name), "at the end")


def _copy(base: Folder, path: Path) -> Folder:
    shutil.copytree(base.path, path)
    return Folder(path, base.environment["METAFLOW_HPO_LEARNER"])


def _in_order(commands: Mapping[str, Command]) -> Iterator[Command]:
    """Yield all commands, each after those whose results it needs; the inbox is read between them."""
    order = sorted(commands, key=lambda name: ("search", "add", "fit", "evaluate", "promote").index(name.split()[0]))
    for name in order:
        if name == "fit":
            yield ["step", "dataset_catalogue"]
        yield commands[name]


def _answers(folder: Folder) -> Iterator[str]:
    """What is there can be read: the status, the audit, and the champion or the candidate."""
    asked = [["status", "--json"], ["audit", "--learner", LEARNER, "--json"]]
    running = [folder.start(command) for command in asked]
    forked.wait(running)
    for one in running:
        if one.code:
            yield f"{' '.join(one.arguments)} ended with {one.code} afterwards:\n{one.said()}"


def _read_tables(data: Path) -> dict[str, Any]:
    """Return all that is known at the end, without what depends on the clock."""
    import pandas as pd

    from metaflow_hpo.adapters.files import read_frame
    from metaflow_hpo.adapters.pipeline import Pipeline
    from metaflow_hpo.settings import Settings

    pipeline = Pipeline(Settings.load())
    store = pipeline.store
    champion = pipeline.registry.require_champion()
    served = pipeline.registry.load(champion.version)
    recommended = served.recommend({}, 5)["recommendations"]
    clocks = ["duration_s", "learning_curve"]
    return {
        "trials": _read_trials(data)[KEY],
        "catalogue": read_frame(store.catalogue_path)[["task_id", "family", "sha256", "rows", "source"]],
        "meta-data set": store.read_meta_dataset().drop(columns=clocks, errors="ignore"),
        "evaluation": pd.read_csv(store.evaluation_folder / "per_task.csv"),
        "recommended": pd.DataFrame([{"at": str(line["configuration"])} for line in recommended]),
        "inbox": pd.DataFrame({"name": sorted(path.name for path in store.inbox.iterdir())}),
    }


def main() -> int:
    """Interrupt, and say what did not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--first", type=int, default=50, help="Interrupts of first runs.")
    parser.add_argument("--later", type=int, default=50, help="Interrupts of search, add, fit, evaluate and promote.")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="interrupts_") as folder:
        soak = Soak(Path(folder), chosen.seed)
        if chosen.first:
            first_runs(soak, chosen.first)
        if chosen.later:
            later_runs(soak, chosen.later)
    for what, times in sorted(soak.hits.items()):
        print(f"{times:4d} {what}")
    print("\n".join(soak.problems) or "passed")
    return int(bool(soak.problems))


if __name__ == "__main__":
    sys.exit(main())
