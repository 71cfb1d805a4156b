"""What the soak delivers: good files are tasks in whatever form, bad ones are refused for their reason."""

from pathlib import Path

import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.registry import read_source
from tests.soak import deliveries


@pytest.mark.parametrize("number", range(len(deliveries.FORMS)))
def test_a_good_file_is_the_same_task_in_every_form(tmp_path: Path, number: int) -> None:
    ending, write = deliveries.FORMS[number]
    part = tmp_path / f"good{ending}.part"
    write(deliveries.make_table(0), part)
    path = part.rename(tmp_path / f"good{ending}")
    deliveries.make_table(0).to_csv(tmp_path / "plain.csv", index=False)
    assert read_source(path).task.sha256 == read_source(tmp_path / "plain.csv").task.sha256


def test_good_files_are_called_by_their_number() -> None:
    names = [deliveries.good_name(number) for number in range(30)]
    assert [name.partition(".")[0] for name in names] == [f"good_{number}" for number in range(30)]
    assert set(names[: deliveries.PLAIN]) == {f"good_{number}.csv" for number in range(deliveries.PLAIN)}


@pytest.mark.parametrize(
    "name",
    [
        "bad_trials.csv",
        "bad_commas.csv",
        "bad_dates.csv",
        "bad_list.jsonl",
        "bad_object.json",
        "bad_quote.csv",
        "bad_half_character.csv",
    ],
)
def test_a_bad_file_is_refused_for_its_reason(tmp_path: Path, name: str) -> None:
    bad = next(one for one in deliveries.bad_files(tmp_path) if one.name == name)
    bad.write(tmp_path / name)
    with pytest.raises(InvalidTaskError, match=bad.reason):
        read_source(tmp_path / name)
