"""What people called things is shown as it is: no control character, markup, formula or code in a name acts."""

import csv
import json
import logging
import runpy
import sys
import unicodedata
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo import cli
from metaflow_hpo.actions.intake import take_in
from metaflow_hpo.actions.script import describe_table
from metaflow_hpo.adapters import secrets
from metaflow_hpo.adapters.landed import mark_settled
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.learners.script import render_script
from metaflow_hpo.modalities.registry import read_source

CONTROLS = {
    "\x1b[31mred\x1b[0m": "\\x1b[31mred\\x1b[0m",
    "\x1b]0;title\x07": "\\x1b]0;title\\x07",
    "\x1b[2J\x1b[H": "\\x1b[2J\\x1b[H",
    "a\rb": "a\\rb",
    "a\x08\x08b": "a\\x08\\x08b",
    "\x9b31mc1": "\\x9b31mc1",
    "\u202egnp.exe": "\\u202egnp.exe",
    "zero\u200bwidth": "zero\\u200bwidth",
    "a\u2028b": "a\\u2028b",
    "\x7fdel": "\\x7fdel",
}
"""Names that a terminal would obey, and how they are shown."""
PLAIN = [
    "[bold]x[/bold]",
    "[/]",
    "[link=file:///etc]y[/link]",
    ":smile:",
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "=HYPERLINK(0)",
    "{x}",
    "{0.__class__}",
    "%s%n",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "'; DROP TABLE runs; --",
    "${HOME}",
    "`id`",
    "$(id)",
    '"""',
    "'''",
    "\\",
    "\\u0041",
    "#",
    "销售",
    "🎲",
]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Call the program as a shell does."""
    monkeypatch.setattr(sys, "argv", ["metaflow-hpo", *arguments])
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def acts(text: str) -> set[str]:
    """Return the characters of an output that a terminal obeys."""
    return {one for one in text if one != "\n" and unicodedata.category(one) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(secrets, "_remembered", set())


def write_named(path: Path, names: list[str], classes: list[str]) -> Path:
    """Write a table whose columns and classes are called so; each second column is constant, and a note names it."""
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=80).round(6) if i % 2 else np.ones(80) for i, name in enumerate(names)}
    labels = [label for label, _ in zip(cycle(classes), range(80), strict=False)]
    frame = pd.DataFrame({"x": rng.normal(size=80).round(6), **columns, "y": labels})
    frame.to_csv(path, index=False, quoting=csv.QUOTE_ALL)
    return path


@pytest.mark.parametrize("name", [*CONTROLS, *PLAIN])
def test_an_error_shows_a_name_and_does_not_obey_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    table = write_named(tmp_path / "t.csv", ["a", "b"], ["p", "q"])
    assert run(monkeypatch, "recommend", str(table), f"--target={name}") == 1
    out, err = capsys.readouterr()
    assert (out, acts(err)) == ("", set())
    assert CONTROLS.get(name, repr(name)[1:-1]) in err


@pytest.mark.parametrize("name", [*CONTROLS, *(name for name in PLAIN if "/" not in name)])
def test_a_file_that_is_not_there_is_named_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run(monkeypatch, "recommend", "--target", "y", "--", f"{name}.csv") == 1
    err = capsys.readouterr().err
    assert acts(err) == set()
    assert CONTROLS.get(name, name) in err


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("names", [list(CONTROLS), PLAIN])
def test_columns_and_classes_are_shown_and_not_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], names: list[str]
) -> None:
    table = write_named(tmp_path / "t.csv", names, names[:4])
    assert run(monkeypatch, "recommend", str(table), "--target", "y") == 0
    out, err = capsys.readouterr()
    assert acts(out) == acts(err) == set()
    assert CONTROLS.get(names[0], names[0]) in err  # the note of constant columns
    assert run(monkeypatch, "recommend", str(table), "--target", "y", "--json") == 0
    task = json.loads(capsys.readouterr().out)["task"]
    assert task["classes"] == 4
    assert acts(json.dumps(task)) == set()


@pytest.mark.parametrize("name", [*CONTROLS, *PLAIN])
def test_a_script_parses_and_reads_whatever_columns_classes_and_files_are_called(tmp_path: Path, name: str) -> None:
    stem = name.replace("/", "_")
    table = write_named(tmp_path / f"{stem}.csv", ["a", name], [name, f"{name}2"])
    data = read_source(table, "y")
    text = render_script(describe_table(table, data), "svm", get_learner("svm").space.default, epochs=1, seed=0)
    (tmp_path / "train.py").write_text(text, encoding="utf-8")
    _, found = runpy.run_path(str(tmp_path / "train.py"))["read_rows"]()
    assert sorted(found) == sorted(data.target)
    assert data.class_names == tuple(sorted([name.strip(), f"{name}2".strip()]))


@pytest.mark.parametrize("name", CONTROLS)
def test_a_line_of_the_log_shows_a_name_and_does_not_obey_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    before = logging.getLogRecordFactory()
    monkeypatch.setattr(logging, "_logRecordFactory", before)  # put back behind the test
    secrets.hide_in_logs()
    try:
        raise ValueError(name)
    except ValueError:
        logging.getLogger("metaflow_hpo").exception("%s is left out\nof the catalogue", name)
    assert acts(caplog.text.replace("\t", "")) == set()
    assert CONTROLS[name] in caplog.text


def test_a_file_of_the_inbox_is_named_on_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = DataStore(tmp_path / "data")
    store.inbox.mkdir(parents=True)
    for name in ("a\nWARNING all is well.csv", "b\x1b[31m.csv", "[bold]c.csv"):
        (store.inbox / name).write_text("a,b\n")
        mark_settled(store.inbox / name)
    take_in(store, [])
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert not any(acts(line) or "\n" in line for line in lines)


def test_a_script_reads_a_sheet_of_any_name(tmp_path: Path) -> None:
    frame = pd.read_csv(write_named(tmp_path / "t.csv", ["a", "b"], ["p", "q"]))
    frame.to_excel(tmp_path / "t.xlsx", sheet_name="=1+1 {x} \"'%s' 销售", index=False)
    data = read_source(tmp_path / "t.xlsx", "y")
    table = describe_table(tmp_path / "t.xlsx", data)
    text = render_script(table, "svm", get_learner("svm").space.default, epochs=1, seed=0)
    (tmp_path / "train.py").write_text(text, encoding="utf-8")
    _, found = runpy.run_path(str(tmp_path / "train.py"))["read_rows"]()
    assert sorted(found) == sorted(data.target)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_cell_of_a_benchmark_is_a_formula_and_no_name_is_part_of_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    names = ["=1+1", "<script>alert(1)</script>", "@SUM(A1)", "[bold]x[/bold]", "\x1b[31mred", "+cmd|x"]
    values = [round(float(x), 3) for x in rng.random(8)]
    lines = [
        {"task_id": name, "hp_x": x, "hp_kind": names[i % 3], "performance": round(1 - abs(x - 0.1 * place), 4)}
        for place, name in enumerate(names)
        for i, x in enumerate(values)
    ]
    pd.DataFrame(lines).to_csv(tmp_path / "trials.csv", index=False)
    assert run(monkeypatch, "benchmark", "trials.csv", "--output", "found") == 0
    out, err = capsys.readouterr()
    assert acts(out) == acts(err) == set()
    for path in (tmp_path / "found").glob("*.csv"):
        with path.open(newline="") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        assert [cell for cell in cells if cell.startswith(("=", "@", "+c"))] == []
    page = (tmp_path / "found" / "report.html").read_text()
    assert "<script>alert" not in page


SECRET = "S3cr3t"  # noqa: S105
ADDRESSES = [
    f"http://user:{SECRET};x@127.0.0.1:1",
    f"http://user:{SECRET}\\y@127.0.0.1:1",
    f"http://user:%0a{SECRET}@127.0.0.1:1",
    f"http://user:§{SECRET}<>@127.0.0.1:1",
    f"http://user:{SECRET}|pipe@127.0.0.1:1",
    f"http://user:%5B{SECRET}%5D@127.0.0.1:1",
    f"http://user:{{{SECRET}}}@127.0.0.1:1",
    f"http://a%40b.org:{SECRET}@127.0.0.1:1",
    f"HTTP://user:{SECRET}@127.0.0.1:1",
    f"http://user:{SECRET}@[::1]:1",
    f"ftp://user:{SECRET}@127.0.0.1:1",
    f"mssql+pyodbc://u:{SECRET}@127.0.0.1:1/db",
    f"databricks://{SECRET}@profile",
    f"sqlite://user:{SECRET}@host/x.db",
    f"postgres//u:{SECRET}@h",
    f"  http://user:{SECRET}@127.0.0.1:1  ",
]


@pytest.mark.integration
@pytest.mark.parametrize("debug", [(), ("--debug",)])
@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_of_a_server_shows_its_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str, debug: tuple[str, ...]
) -> None:
    monkeypatch.setenv("METAFLOW_HPO_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    assert run(monkeypatch, *debug, "audit") == 1
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert ("Traceback" if debug else "error: ") in err
    assert debug or "Traceback" not in err
