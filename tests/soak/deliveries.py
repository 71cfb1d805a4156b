"""What arrives during the soak: good tables, and bad ones with what must be said about them."""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Bad:
    """A file that is no task.

    Attributes:
        name: Its name in the inbox.
        write: Writes it there.
        reason: Pattern of what `<name>.reason.txt` must say.
    """

    name: str
    write: Callable[[Path], None]
    reason: str


def make_table(number: int) -> pd.DataFrame:
    """Return a small task of its own: no two share a column."""
    rng = np.random.default_rng(1_000 + number)
    x = rng.normal(size=(70 + number, 4)).round(6)
    signal = x[:, 0] + rng.normal() * x[:, 1] * x[:, 2]
    y = signal.round(6) if number % 3 == 0 else np.where(signal > np.median(signal), "yes", "no")
    return pd.DataFrame(x, columns=[f"c{number}_{i}" for i in range(4)]).assign(y=y)


def land(inbox: Path, name: str, write: Callable[[Path], None]) -> None:
    """Deliver a file as a careful sender does: written under another name, then renamed, and tried again when full."""
    part = inbox / f"{name}.part"
    while True:
        try:
            write(part)
            if not part.is_symlink():
                os.utime(part)
            part.rename(inbox / name)
        except OSError:
            part.unlink(missing_ok=True)
            time.sleep(5)
        else:
            return


def write_good(number: int) -> Callable[[Path], None]:
    """Return the writer of a good table."""
    return lambda path: make_table(number).to_csv(path, index=False)


def bad_files(inbox: Path) -> list[Bad]:
    """Return ten files that are no tasks, each for its own reason."""

    def text(content: str) -> Callable[[Path], None]:
        return lambda path: path.write_text(content) and None

    def with_sidecar(stem: str, sidecar: str, number: int) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            (inbox / f"{stem}.yaml").write_text(sidecar)
            make_table(number).to_csv(path, index=False)

        return write

    rows = "\n".join(f"{i},{i * i},same" for i in range(60))
    noise = np.random.default_rng(7).bytes(4_000)
    return [
        Bad("bad_cut_short.csv", text("a,b,y\n1,2,0\n1,"), "Expected 3 fields"),
        Bad("bad_noise.parquet", lambda path: path.write_bytes(noise) and None, "whole parquet file"),
        Bad("bad_empty.csv", text(""), "."),
        Bad("bad_header_only.csv", text("a,b,y\n"), "."),
        Bad("bad_constant.csv", text(f"a,b,y\n{rows}\n"), "."),
        Bad("bad_no_target.csv", text("\n".join(["a,b,c", *(f"{i},{i % 7},{i % 3}" for i in range(60))])), "target"),
        Bad("bad_link.csv", lambda path: path.symlink_to("/etc/hostname"), "symbolic link"),
        Bad("bad_unknown_key.csv", with_sidecar("bad_unknown_key", "colour: red\n", 900), "colour"),
        Bad("bad_escape.csv", with_sidecar("bad_escape", "task_id: ../../escaped\n", 901), "task_id"),
        Bad("good_0_again.csv", write_good(0), "same rows, columns and target as the task 'good_0'"),
    ]


def reason_is_given(quarantine: Path, bad: Bad) -> bool:
    """Tell whether a bad file lies in quarantine with what must be said about it."""
    said = quarantine / f"{bad.name}.reason.txt"
    there = os.path.lexists(quarantine / bad.name)
    return there and said.is_file() and re.search(bad.reason, said.read_text()) is not None
