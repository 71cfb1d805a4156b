"""Progress on standard error: bars on a terminal, plain lines elsewhere, and what takes an unknown time."""

import pytest

from metaflow_hpo.adapters import terminal
from metaflow_hpo.adapters.terminal import show_progress


@pytest.fixture
def on_terminal(monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_shows_one_stage_after_the_other_without_a_count(on_terminal, capsys):
    with show_progress() as progress:
        progress("reading [my].csv", 0, 0)
        progress("describing 10 rows", 0, 0)
        progress("trials", 1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "describing 10 rows" not in err.rsplit("trials", 1)[1]
    assert "reading [my].csv" in err
    assert "1/2" in err
    assert "0/?" not in err


def test_elsewhere_nothing_is_said_of_what_is_short(capsys):
    with show_progress() as progress:
        progress("reading my.csv", 0, 0)
        progress("describing 10 rows", 0, 0)
        progress("trials", 2, 2)
    assert capsys.readouterr() == ("", "trials: 2/2\n")


def test_elsewhere_what_follows_after_seconds_is_a_plain_line(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "_PLAIN_EVERY_S", 0.0)
    with show_progress() as progress:
        progress("describing 10 rows", 0, 0)
    assert capsys.readouterr() == ("", "describing 10 rows ...\n")
