"""What the first `recommend` of a day costs on pictures, sentences and recordings: a fresh process, nothing in memory.

    python tests/bench/bench_cold_items.py --output bench_cold_items.json

The one thing to know: processor time hardly depends on what else the machine does, wall time does; goals are wall time
on two idle cores.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import wavfile
from sklearn.datasets import load_digits

GOALS_S = {"pictures": 6.0, "sentences.csv": 4.0, "recordings": 8.0}
"""Of 1,000 pictures, 5,000 sentences and 500 recordings of a second."""


def write_all(folder: Path) -> None:
    """Write the three tasks, named as in `GOALS_S`."""
    rng = np.random.default_rng(0)
    pixels, digits = load_digits(return_X_y=True)
    for number in range(1000):
        path = folder / "pictures" / str(digits[number]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels[number].reshape(8, 8) * 15).astype(np.uint8)).resize((28, 28)).save(path)
    words = np.array([f"word{n}" for n in range(3000)])
    texts = [" ".join([*rng.choice(words, rng.integers(6, 20)), ("good", "bad")[n % 2]]) for n in range(5000)]
    pd.DataFrame({"text": texts, "label": ["yes", "no"] * 2500}).to_csv(folder / "sentences.csv", index=False)
    for number in range(500):
        path = folder / "recordings" / f"class {number % 5}" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        hertz = 200 + 150 * (number % 5) + rng.normal(0, 20)
        wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000) + 0.1 * rng.normal(size=16_000)
        wavfile.write(path, 16_000, (wave * 20_000).astype(np.int16))


def measure(source: Path, data: Path) -> tuple[float, float]:
    """Return seconds of wall time and of processor time of one `recommend`."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "metaflow_hpo.cli", "recommend", str(source), "--json"]
    environment = {**os.environ, "METAFLOW_HPO_DATA": str(data)}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(prefix="bench_cold_items_") as temporary:
        folder = Path(temporary)
        write_all(folder)
        for name, goal in GOALS_S.items():
            times = [measure(folder / name, folder / "data") for _ in range(chosen.repeats)]
            wall, processor = (statistics.median(one) for one in zip(*times, strict=True))
            found[name] = {"wall_s": wall, "processor_s": processor, "goal_s": goal}
            print(f"{name}: {found[name]}", flush=True)
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
