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


def _write_workbook(table: pd.DataFrame, path: Path) -> None:
    with path.open("wb") as file:  # pandas wants another name
        table.to_excel(file, index=False, engine="openpyxl")


def _write_below_a_hidden_sheet(table: pd.DataFrame, path: Path) -> None:
    with path.open("wb") as file, pd.ExcelWriter(file, engine="openpyxl") as book:
        table.head(3).to_excel(book, sheet_name="old", index=False)
        table.to_excel(book, sheet_name="new", index=False)
        book.sheets["old"].sheet_state = "hidden"


def _write_with_units(table: pd.DataFrame, path: Path) -> None:
    table.assign(**{name: table[name].map("{} kg".format) for name in table.columns[:2]}).to_csv(path, index=False)


def _write_with_totals(table: pd.DataFrame, path: Path) -> None:
    total = pd.DataFrame([table.drop(columns="y").sum()], index=["Total"])
    pd.concat([table, total]).to_csv(path)


FORMS: tuple[tuple[str, Callable[[pd.DataFrame, Path], object]], ...] = (
    (".csv", lambda table, path: table.to_csv(path, index=False)),
    (".csv", lambda table, path: table.to_csv(path, index=False, sep=";", decimal=",")),
    (".csv", lambda table, path: table.to_csv(path)),
    (".csv", lambda table, path: table.to_csv(path, index=False, encoding="utf-8-sig", quoting=2)),
    (".csv", lambda table, path: path.write_text(f"Measured in 2026\n\n{table.to_csv(index=False)}")),
    (".csv.gz", lambda table, path: table.to_csv(path, index=False, compression="gzip")),
    (".jsonl", lambda table, path: table.to_json(path, orient="records", lines=True)),
    (".json", lambda table, path: table.to_json(path, indent=1)),
    (".parquet", lambda table, path: table.to_parquet(path)),
    (".xlsx", _write_workbook),
    (".xlsx", _write_below_a_hidden_sheet),
    (".csv", _write_with_units),
    (".csv", _write_with_totals),
    (".csv", lambda table, path: table.map('="{}"'.format).to_csv(path, index=False)),
)
"""Endings and writers of one table in n ways, each the same task."""
PLAIN = 4
"""So many good tables are plain csv before the other forms take turns."""


def good_name(number: int) -> str:
    """Return what a good table is called in the inbox."""
    return f"good_{number}{_form(number)[0]}"


def write_good(number: int) -> Callable[[Path], None]:
    """Return the writer of a good table."""
    write = _form(number)[1]
    return lambda path: write(make_table(number), path) and None


def _form(number: int) -> tuple[str, Callable[[pd.DataFrame, Path], object]]:
    return FORMS[0 if number < PLAIN else number % len(FORMS)]


def bad_files(inbox: Path) -> list[Bad]:
    """Return files that are no tasks, each for its own reason."""

    def text(content: str) -> Callable[[Path], None]:
        return lambda path: path.write_text(content) and None

    def with_sidecar(stem: str, sidecar: str, number: int) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            (inbox / f"{stem}.yaml").write_text(sidecar)
            make_table(number).to_csv(path, index=False)

        return write

    rows = "\n".join(f"{i},{i * i},same" for i in range(60))
    noise = np.random.default_rng(7).bytes(4_000)
    in_a_list = "\n".join(f'{{"a": {i}, "b": [{i}], "y": {i % 2}}}' for i in range(60))
    return [
        Bad("bad_trials.csv", text("\n".join(["lr,score", *(f"0.{i},{i % 7}" for i in range(60))])), "target"),
        Bad(
            "bad_commas.csv",
            text("\n".join(["a,b,y", *(f"{i % 7},5,{i},{i % 2}" for i in range(60))])),
            "Expected 3 fields",
        ),
        Bad("bad_dates.csv", text("\n".join(["a,y", *(f"{i},{i % 28 + 1}.3.2021" for i in range(60))])), "holds dates"),
        Bad("bad_list.jsonl", text(in_a_list), "in a list"),
        Bad("bad_object.json", text('{"stats": {"n": 3}, "data": [{"x": [1]}]}'), "one JSON object"),
        Bad("bad_quote.csv", text('a,b,y\n1,"2,0\n3,4,1\n'), "quoted field"),
        Bad("bad_half_character.csv", lambda path: path.write_bytes(b"\xff\xfea\0,\0b") and None, "UTF-16"),
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
