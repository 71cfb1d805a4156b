"""Tables of trials as people write them are those that programs write: scores, quotes, titles, encodings."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from metaflow_hpo.adapters.observed_trials import read_observed_trials
from metaflow_hpo.adapters.past_trials.csv import CsvSource
from metaflow_hpo.adapters.past_trials.source import Wanted
from metaflow_hpo.adapters.trial_files import read_history
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.space import SearchSpace
from metaflow_hpo.written_scores import read_scores

RNG = np.random.default_rng(0)
TRIALS = pd.DataFrame(
    [(f"t{i % 3}", round(float(RNG.random()), 3), round(float(RNG.uniform(0.5, 0.99)), 2)) for i in range(24)],
    columns=["task_id", "hp_x", "performance"],
)
PLAIN = TRIALS.to_csv(index=False)
SPACE = SearchSpace.read({"x": {"type": "float", "low": 0, "high": 1}})


def scored(write: Callable[[float], str], **options: object) -> str:
    text: str = TRIALS.assign(performance=TRIALS["performance"].map(write)).to_csv(index=False, **options)
    return text


FORMS: dict[str, str | bytes] = {
    "percent": scored(lambda v: f"{100 * v:.0f}%"),
    "percent with a blank": scored(lambda v: f"{100 * v:.1f} %"),
    "decimal comma, quoted": scored(lambda v: f"{v:.2f}".replace(".", ",")),
    "decimal comma": scored(lambda v: f"{v:.2f}".replace(".", ","), sep=";"),
    "percent with a comma": scored(lambda v: f"{100 * v:.1f}%".replace(".", ","), sep="\t"),
    "spread": scored(lambda v: f"{v:.2f} ± 0.02"),
    "spread in ascii": scored(lambda v: f"{v:.2f}+/-0.02"),
    "spread in brackets": scored(lambda v: f"{v:.2f} (0.02)"),
    "percent with a spread": scored(lambda v: f"{100 * v:.1f} ± 1.2 %"),
    "percent with spreads in percent": scored(lambda v: f"{100 * v:.1f}% ± 1.2%"),
    "title": f"My trials of spring\n\n{PLAIN}",
    "comments": f"# made by hand\n# in spring\n{PLAIN}",
    "separator said": f"sep=;\n{TRIALS.to_csv(index=False, sep=';')}",
    "single quotes": TRIALS.to_csv(index=False, quoting=1, quotechar="'"),
    "single quotes, semicolons": TRIALS.to_csv(index=False, quoting=1, quotechar="'", sep=";"),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-32": PLAIN.encode("utf-32"),
    "mark of the byte order": PLAIN.encode("utf-8-sig"),
    "line ends of old": PLAIN.replace("\n", "\r\n"),
    "blank lines": PLAIN.replace("\n", "\n\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_of_trials_is_the_same_in_every_form(tmp_path: Path, form: str) -> None:
    path, content = tmp_path / "trials.csv", FORMS[form]
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (tmp_path / "plain.csv").write_text(PLAIN)
    right, found = (read_history(one) for one in (tmp_path / "plain.csv", path))
    np.testing.assert_allclose(found.performance, right.performance, rtol=0, atol=1e-12)
    assert found.configurations == right.configurations
    expected = TRIALS["performance"].tolist()
    assert [one.performance for one in read_observed_trials(path, SPACE)] == pytest.approx(expected)
    imported = CsvSource().read(path, Wanted(mode="max")).trials
    assert [one.value for one in imported] == pytest.approx(expected)
    assert [one.configuration for one in imported] == [{"x": x} for x in TRIALS["hp_x"]]


def test_what_was_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text(str(FORMS["percent"]))
    [note] = read_history(tmp_path / "trials.csv").notes
    assert "'performance' as numbers that were written for people ('63%' is 0.63)" in note


@pytest.mark.parametrize(
    ("cells", "match"),
    [
        (["85%", "0.83"], "different units"),
        (["0.8x9", "0.83"], "'0.8x9'"),
        (["85% ± 1", "0.83 ± 0.01"], "different units"),
        (["1,234", "5,678"], "1,234 may be"),
        (["0.5 to 0.6", "0.7"], "'0.5 to 0.6'"),
        (["12:30", "13:45"], "'12:30'"),
        (["1.2.3", "0.5"], r"'1\.2\.3'"),
        (["5/10", "6/10"], "'5/10'"),
    ],
)
def test_scores_that_cannot_be_read_are_an_error_and_never_left_out(cells: list[str], match: str) -> None:
    if "may be" in match:  # whole numbers of thousands, or three decimals: commas are decimal where scores are written
        assert read_scores(pd.Series(cells, name="s"))[0].tolist() == [1.234, 5.678]
        return
    with pytest.raises(MetaflowHPOError, match=match):
        read_scores(pd.Series(cells, name="s"))


@pytest.mark.parametrize("cells", [[0.5, 0.25], ["0.5", "1e-3"], ["0.5", "nan"], ["failed", None], [True, False], []])
def test_scores_that_programs_write_are_left_as_they_are(cells: list[object]) -> None:
    column = pd.Series(cells, name="s", dtype=object)
    found, note = read_scores(column)
    assert found is column
    assert note == ""


def test_words_are_left_to_whoever_knows_them() -> None:
    found, _ = read_scores(pd.Series(["85%", "failed", None, "83%"], name="s"))
    assert found.tolist()[:2] == [0.85, "failed"]
    assert found.iloc[3] == 0.83


def test_a_task_in_single_quotes_is_the_same(tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": np.arange(60.0), "t": ["it, is", "so"] * 30, "y": ["p", "q"] * 30})
    rows.to_csv(tmp_path / "one.csv", index=False, quoting=1, quotechar="'")
    rows.to_csv(tmp_path / "two.csv", index=False)
    one, two = (read_source(tmp_path / name, "y").task.sha256 for name in ("one.csv", "two.csv"))
    assert one == two


def test_a_repeated_column_of_parquet_is_named(tmp_path: Path) -> None:
    columns = [pa.array(TRIALS[name]) for name in ("task_id", "hp_x", "hp_x", "performance")]
    names = ["task_id", "hp_x", "hp_x", "performance"]
    parquet.write_table(pa.Table.from_arrays(columns, names=names), tmp_path / "a.parquet")
    for read in (
        read_history,
        lambda path: read_source(path, "performance"),
        lambda path: read_observed_trials(path, SPACE),
        lambda path: CsvSource().read(path, Wanted(mode="max")),
    ):
        with pytest.raises(MetaflowHPOError, match=r"'hp_x' more than once\. Rename"):
            read(tmp_path / "a.parquet")
