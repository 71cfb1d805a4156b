"""Small series of two classes, and files of them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def draw_series(
    items: int = 60, steps: int = 40, channels: int = 1, seed: int = 0
) -> tuple[NDArray[np.float32], list[str]]:
    """Return noisy waves, `(items, channels, steps)`, slow ones of the class `low` and fast ones of `high`."""
    rng = np.random.default_rng(seed)
    labels = ["low" if i % 2 else "high" for i in range(items)]
    time = np.arange(steps)
    speed = np.array([0.2 if label == "low" else 0.7 for label in labels])[:, None, None]
    start = rng.uniform(0, 6, (items, channels, 1))
    waves = np.sin(speed * time + start) + 0.1 * rng.normal(size=(items, channels, steps))
    return waves.astype(np.float32), labels


def write_ts(path: Path, series: list[NDArray[np.float32]], labels: list[str]) -> Path:
    """Write a `.ts` file."""
    lines = ["@problemName own", "@timeStamps false", f"@classLabel true {' '.join(sorted(set(labels)))}", "@data"]
    for one, label in zip(series, labels, strict=True):
        rows = [",".join("?" if np.isnan(value) else repr(float(value)) for value in channel) for channel in one]
        lines.append(":".join([*rows, label]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_tsv(path: Path, series: list[NDArray[np.float32]], labels: list[str]) -> Path:
    """Write a UCR file of the first channels."""
    rows = ["\t".join([label, *map(str, one[0])]) for one, label in zip(series, labels, strict=True)]
    path.write_text("\n".join(rows) + "\n")
    return path
