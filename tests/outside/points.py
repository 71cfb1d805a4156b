"""Files of the kinds that the package beside this one reads."""

from pathlib import Path

import numpy as np

DIARY = """monday: lr=0.1, opt="sgd" -> 0.75
monday: lr=0.01, opt="adam" -> 0.5
monday: lr=0.3, opt="adam" -> failed
tuesday: lr=0.02, opt="sgd" -> 0.625
tuesday: lr=0.2, opt="sgd" -> ?
tuesday: lr=0.1, opt="adam" -> 0.875
"""


def write_points(path: Path, seed: int, count: int = 150) -> Path:
    """Write points of three classes around centres of their own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    centres = rng.normal(scale=2.0, size=(3, 2))
    points = centres[labels] + rng.normal(size=(count, 2))
    lines = [f"{x:.6f} {y:.6f} {label}" for (x, y), label in zip(points, labels, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path
