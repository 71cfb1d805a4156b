import pytest

from metaflow_hpo.commands.printing import format_seconds, say_if_known


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
