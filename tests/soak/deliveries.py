"""What arrives during the soak: good tables, and bad ones with what must be said about them."""

import gzip
import io
import os
import re
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet


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

    @property
    def kept_as(self) -> str:
        """Its name in quarantine: signs that could harm someone's shell or terminal are left out."""
        return re.sub(r"[^\w. -]", "_", self.name)


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


def _write_below_a_title(table: pd.DataFrame, path: Path) -> None:
    path.write_text(f"Measured in 2026\n\n{table.to_csv(index=False)}")


def _write_with_units(table: pd.DataFrame, path: Path) -> None:
    table.assign(**{name: table[name].map("{} kg".format) for name in table.columns[:2]}).to_csv(path, index=False)


def _write_with_totals(table: pd.DataFrame, path: Path) -> None:
    total = pd.DataFrame([table.drop(columns="y").sum()], index=["Total"])
    pd.concat([table, total]).to_csv(path)


@dataclass(frozen=True)
class Good:
    """A kind of file that is a task.

    Attributes:
        stem: What it is called, with its number, or with its turn where two kinds share a stem.
        ending: The ending of its name.
        write: Writes a table there, as it is or with more to it.
    """

    stem: str
    ending: str
    write: Callable[[pd.DataFrame, Path], object]


FORMS: tuple[Good, ...] = (
    Good("good_{number}", ".csv", lambda table, path: table.to_csv(path, index=False)),
    Good("数据 {number}", ".csv", lambda table, path: table.to_csv(path, index=False, sep=";", decimal=",")),
    Good("good#{number}", ".csv", lambda table, path: table.to_csv(path)),
    Good("good%{number}", ".csv", lambda table, path: table.to_csv(path, index=False, encoding="utf-8-sig", quoting=2)),
    Good(
        "good?{number}", ".csv", lambda table, path: path.write_text(f"Measured in 2026\n\n{table.to_csv(index=False)}")
    ),
    Good("Größe {number}.v2", ".csv.gz", lambda table, path: table.to_csv(path, index=False, compression="gzip")),
    Good("twin {turn}", ".jsonl", lambda table, path: table.to_json(path, orient="records", lines=True)),
    Good("twin {turn}", ".json", lambda table, path: table.to_json(path, indent=1)),
    Good("twin_{turn}", ".parquet", lambda table, path: table.to_parquet(path)),
    Good("[bold]{number}[", ".xlsx", _write_workbook),
    Good("=1+{number}", ".xlsx", _write_below_a_hidden_sheet),
    Good("хорошо {number}", ".csv", _write_with_units),
    Good("-- 'good' \"{number}\"; 🎲", ".CSV", _write_with_totals),
    Good(
        "${{HOME}} {{number}} {number}", ".csv", lambda table, path: table.map('="{}"'.format).to_csv(path, index=False)
    ),
)
"""One table in n ways, each the same task."""


def _write_with_rare_classes(table: pd.DataFrame, path: Path) -> None:
    labels = np.where(table.iloc[:, 0] > 0, "often", "also")
    labels[:2], labels[2] = "rare", "once"
    table.assign(y=labels).to_csv(path, index=False)


def _write_with_texts_of_missing_values(table: pd.DataFrame, path: Path) -> None:
    places = [("NA", "EU", "AS")[i % 3] for i in range(len(table))]
    table.assign(place=places, y=np.where(table.iloc[:, 0] > 0, "None", "some")).to_csv(path, index=False)


def _write_with_dates(table: pd.DataFrame, path: Path) -> None:
    days = pd.date_range("2024-01-20", periods=len(table), freq="D")
    table.assign(day=days.strftime("%d.%m.%Y"), hour=days.strftime("%Y-%m-%dT%H:%M:%S+01:00")).to_csv(path, index=False)


def _write_with_ids(table: pd.DataFrame, path: Path) -> None:
    table.sort_values("y", ignore_index=True).rename_axis("id").to_csv(path)


def _write_with_sentinels(table: pd.DataFrame, path: Path) -> None:
    odd = table.iloc[:, 0].where(np.arange(len(table)) % 7 > 0, -999)
    table.assign(**{table.columns[0]: odd, "huge": np.where(np.arange(len(table)) % 9 > 0, 0.5, 1e200)}).to_parquet(
        path
    )


def _write_with_odd_columns(table: pd.DataFrame, path: Path) -> None:
    names = ["=1+1", "[bold]a[/bold]", "a\x1b[31mb", " <script>\n"]
    table.set_axis([*names, "y"], axis=1).to_csv(path, index=False)


def _write_with_zeros_ahead(table: pd.DataFrame, path: Path) -> None:
    table.assign(y=np.where(table.iloc[:, 0] > 0, "007", "042")).to_csv(path, index=False)


CONTENTS: tuple[Good, ...] = (
    Good("rare {number}", ".csv", _write_with_rare_classes),
    Good("None {number}", ".csv", _write_with_texts_of_missing_values),
    Good("2026-01-02 {number}", ".csv", _write_with_dates),
    Good("é" * 60 + "{number}", ".csv", _write_with_ids),
    Good("CON.{number}", ".parquet", _write_with_sentinels),
    Good("<b>{number}&", ".csv", _write_with_odd_columns),
    Good("good&{number}", ".csv", _write_with_zeros_ahead),
)
"""Tables with what people's tables have, each a task."""


def _write_sentences(table: pd.DataFrame, path: Path) -> None:
    words = [f"the {('good', 'bad')[n % 2]} film of {table.columns[0]} number {n} was seen" for n in range(60)]
    pd.DataFrame({"text": words, "label": ["yes", "no"] * 30}).to_csv(path, index=False)


def _write_pictures(table: pd.DataFrame, path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(len(table))
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(40):
            pixels = rng.integers(0, 80, (12, 12), dtype=np.uint8)
            pixels[3:9, 3:9] += np.uint8(150 * (number % 2))
            picture = io.BytesIO()
            Image.fromarray(pixels).save(picture, "png")
            archive.writestr(f"{'ab'[number % 2]}/{number}.png", picture.getvalue())


def _write_description(table: pd.DataFrame, path: Path) -> None:
    path.write_text(f"metric: accuracy\ndata: s3://bucket/{len(table)}\nmeta_features: {{rows: {len(table)}}}\n")


OTHERS: tuple[Good, ...] = (
    Good("reviews {number}", ".csv", _write_sentences),
    Good("фото {number}", ".zip", _write_pictures),
    Good("outside_{number}", ".yaml", _write_description),
)
"""Tasks of other modalities; the last one has data that no learner here can open."""
KINDS = (*FORMS, *CONTENTS, *OTHERS)


def pick(count: int, there: int, seed: int) -> list[int]:
    """Return so many numbers of those there are, spread evenly: 0, and others that the seed moves on."""
    return sorted({0, *((seed % (there // count) + i * there // count) for i in range(1, count))})


def good_name(number: int) -> str:
    """Return what a good file is called in the inbox."""
    turn, place = divmod(number, len(KINDS))
    return KINDS[place].stem.format(number=number, turn=turn) + KINDS[place].ending


def write_good(number: int) -> Callable[[Path], None]:
    """Return the writer of a good file."""
    return lambda path: KINDS[number % len(KINDS)].write(make_table(number), path) and None


def _damaged_parquet(position: int) -> Callable[[Path], None]:
    """Return the writer of a parquet file of which one byte is another; a negative position counts from its end."""

    def write(path: Path) -> None:
        parquet.write_table(pa.Table.from_pandas(make_table(902)), path, write_page_checksum=True)
        content = bytearray(path.read_bytes())
        content[position] ^= 8
        path.write_bytes(content)

    return write


def _zip_of(*members: tuple[str, bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)

    return write


def bad_files(inbox: Path) -> list[Bad]:
    """Return files that are no tasks, each for its own reason."""

    def text(content: str) -> Callable[[Path], None]:
        return lambda path: path.write_text(content) and None

    def rows(head: str, line: Callable[[int], str]) -> Callable[[Path], None]:
        return text("\n".join([head, *map(line, range(60))]))

    def with_sidecar(stem: str, sidecar: str, number: int) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            (inbox / f"{stem}.yaml").write_text(sidecar)
            make_table(number).to_csv(path, index=False)

        return write

    noise = np.random.default_rng(7).bytes(4_000)
    table = make_table(903).to_csv(index=False).encode()
    states = ("done", "alive", "lost", "???")
    return [
        Bad("bad_trials.csv", rows("lr,score", lambda i: f"0.{i},{i % 7}"), "target"),
        Bad(
            "bad_statuses.csv",
            rows("task_id,hp_lr,performance,status", lambda i: f"t{i % 2},0.{i + 1},0.{i},{states[i % 4]}"),
            "'performance', 'status'",
        ),
        Bad("bad_commas.csv", rows("a,b,y", lambda i: f"{i % 7},5,{i},{i % 2}"), "Expected 3 fields"),
        Bad("bad_dates.csv", rows("a,y", lambda i: f"{i},{i % 28 + 1}.3.2021"), "holds dates"),
        Bad(
            "bad_list.jsonl", text("\n".join(f'{{"a": {i}, "b": [{i}], "y": {i % 2}}}' for i in range(60))), "in a list"
        ),
        Bad("bad_object.json", text('{"stats": {"n": 3}, "data": [{"x": [1]}]}'), "one JSON object"),
        Bad("bad_deep.json", text("[" * 5_000), "."),
        Bad("bad_quote.csv", text('a,b,y\n1,"2,0\n3,4,1\n'), "quoted field"),
        Bad("bad_half_character.csv", lambda path: path.write_bytes(b"\xff\xfea\0,\0b") and None, "UTF-16"),
        Bad("bad_cut_short.csv", text("a,b,y\n1,2,0\n1,"), "Expected 3 fields"),
        Bad("bad_noise.parquet", lambda path: path.write_bytes(noise) and None, "whole parquet file"),
        Bad("bad_byte.parquet", _damaged_parquet(2_000), "CRC"),
        Bad("bad_footer.parquet", _damaged_parquet(-6), "whole parquet file"),
        Bad("bad_book.xlsx", lambda path: path.write_bytes(noise) and None, "."),
        Bad("bad_packed.csv.gz", lambda path: path.write_bytes(gzip.compress(table)[:-40]) and None, "cut short"),
        Bad("bad_bomb.csv.zip", _zip_of(("a.csv", b"a,b,y\n" + b"1,2,0\n" * 15_000_000)), "bytes unpacked"),
        Bad("bad_way_out.zip", _zip_of(("../escaped.csv", table), (f"{inbox}/../escaped.csv", table)), "."),
        Bad("bad_pictures.zip", _zip_of(*((f"{'ab'[i % 2]}/{i}.png", noise[:99]) for i in range(30))), "."),
        Bad("bad_empty.csv", text(""), "."),
        Bad("bad_zeros.csv", lambda path: path.write_bytes(bytes(4_000)) and None, "."),
        Bad("bad_header_only.csv", text("a,b,y\n"), "."),
        Bad("bad_constant.csv", rows("a,b,y", lambda i: f"{i},{i * i},same"), "different values"),
        Bad("bad_no_target.csv", rows("a,b,c", lambda i: f"{i},{i % 7},{i % 3}"), "target"),
        Bad("bad_[bold]x[bold] =1+1.csv", text("a,b,y\n"), "."),
        Bad("bad\n\x1b[31mlines.csv", write_good(904), "printable"),
        Bad("bad_\u202egnp.csv", write_good(905), "printable"),
        Bad("bad_link.csv", lambda path: path.symlink_to("/etc/hostname"), "symbolic link"),
        Bad("bad_unknown_key.csv", with_sidecar("bad_unknown_key", "colour: red\n", 900), "colour"),
        Bad("bad_escape.csv", with_sidecar("bad_escape", "task_id: ../../escaped\n", 901), "task_id"),
        Bad("good_0_again.csv", write_good(0), "same rows, columns and target as the task 'good_0'"),
    ]


def reason_is_given(quarantine: Path, bad: Bad) -> bool:
    """Tell whether a bad file lies in quarantine with what must be said about it."""
    said = quarantine / f"{bad.kept_as}.reason.txt"
    there = os.path.lexists(quarantine / bad.kept_as)
    return there and said.is_file() and re.search(bad.reason, said.read_text()) is not None
