from metaflow_hpo.commands.printing import say_if_known


def test_a_table_that_was_learned_from_is_said_to_be_known(capsys):
    say_if_known([{"task_id": "wine", "distance": 7e-16}, {"task_id": "iris", "distance": 4.6}])
    out, err = capsys.readouterr()
    assert out == ""
    assert "past task itself, wine" in err


def test_nothing_is_said_of_a_table_that_only_resembles_one(capsys):
    say_if_known([{"task_id": "wine", "distance": 0.01}])
    say_if_known([])
    assert capsys.readouterr() == ("", "")
