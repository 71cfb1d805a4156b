import pytest

from metaflow_hpo.commands.printing import format_seconds, print_table, say_if_known


def test_a_table_that_was_learned_from_is_said_to_be_known(capsys):
    say_if_known([{"task_id": "wine", "distance": 7e-16}, {"task_id": "iris", "distance": 4.6}])
    out, err = capsys.readouterr()
    assert out == ""
    assert "past task itself, wine" in err


def test_nothing_is_said_of_a_table_that_only_resembles_one(capsys):
    say_if_known([{"task_id": "wine", "distance": 0.01}])
    say_if_known([])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.00432, "0.0043"), (0.0468, "0.047"), (0.5, "0.50"), (4.32, "4.3"), (43.2, "43"), (432.1, "432"), (0.0, "0")],
)
def test_seconds_are_shown_so_that_they_can_be_compared(seconds, shown):
    assert format_seconds(seconds) == shown


NAMES = [
    "[relu]",
    "[/relu]",
    "[/q]",
    "[bold]x[/bold]",
    "[red]",
    "[link=http://x]y[/link]",
    "\\[x]",
    "[",
    "]",
    "[[a]]",
    ":smile:",
    "{x}",
    "100%",
    "销售",
    "a'b\"c",
    "<b>",
    "=1+1",
    "",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_as_it_is(capsys, name):
    print_table(name, ["first", name], [[name, 0.5], [f"layers={name}, x=0.36", 1.0]])
    out = capsys.readouterr().out
    assert out.count(name) >= 4 if name else "layers=, x=0.36" in out
    assert f"layers={name}, x=0.36" in out


def test_a_number_that_there_is_not_is_a_dash(capsys):
    print_table("a", ["", "r2"], [["best", 0.5], ["test", float("nan")], ["worst", float("-inf")]])
    out = capsys.readouterr().out
    assert "nan" not in out
    assert [line.split()[3] for line in out.splitlines() if line.startswith("│")] == ["0.5000", "-", "-inf"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\rb", "a\\rb"),
        ("a\nb", "a\\nb"),
        ("a\tb", "a\\tb"),
        ("\x07", "\\x07"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2028b", "a\\u2028b"),
        ("\udce9", "\\udce9"),
        ("\x9b2J", "\\x9b2J"),
    ],
)
def test_a_control_character_is_shown_and_not_obeyed(capsys, name, shown):
    print_table(name, [name], [[name]])
    out = capsys.readouterr().out
    assert out.count(shown) == 3
    assert name not in out
