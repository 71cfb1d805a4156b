import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.registry import find_modality, read_source
from metaflow_hpo.modalities.text.modality import TEXT_MODALITY

LABELS = ["good", "bad"]
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def sentences(count: int = 40) -> pd.DataFrame:
    texts = [f"film {NUMBERS[n % 13]} of {NUMBERS[n // 13]} was {LABELS[n % 2]} to see" for n in range(count)]
    return pd.DataFrame({"text": texts, "label": [LABELS[n % 2] for n in range(count)]})


def write(folder: Path, table: pd.DataFrame, name: str = "my.csv", **options: object) -> Path:
    path = folder / name
    table.to_csv(path, index=False, **options)
    return path


def pairs(data: ItemData) -> set[tuple[str, str]]:
    return {(text, data.class_names[label]) for text, label in zip(data.items.tolist(), data.target, strict=True)}


def read(path: Path, **given: object) -> ItemData:
    data = read_source(path, **given)
    assert isinstance(data, ItemData)
    assert data.task.modality == "text"
    return data


def as_jsonl(table: pd.DataFrame, path: Path) -> None:
    table.to_json(path, orient="records", lines=True)


WRITERS = {
    "my.csv": lambda table, path: table.to_csv(path, index=False),
    "my.csv.gz": lambda table, path: table.to_csv(path, index=False),
    "my.tsv": lambda table, path: table.to_csv(path, index=False, sep="\t"),
    "my.jsonl": as_jsonl,
    "my.parquet": lambda table, path: table.to_parquet(path, index=False),
    "my.xlsx": lambda table, path: table.to_excel(path, index=False),
    "semicolons.csv": lambda table, path: table.to_csv(path, index=False, sep=";"),
    "utf16.csv": lambda table, path: table.to_csv(path, index=False, encoding="utf-16"),
    "index.csv": lambda table, path: table.to_csv(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_table_gives_the_same_texts_and_classes(tmp_path: Path, name: str) -> None:
    table = sentences()
    WRITERS[name](table, tmp_path / name)
    data = read(tmp_path / name)
    assert pairs(data) == set(table.itertuples(index=False, name=None))
    assert (data.task.kind, data.class_names, data.task.rows) == ("binary", ("bad", "good"), 40)
    assert data.task.metric.name == "balanced_accuracy"
    assert data.task.target == "label"


def test_neither_rows_nor_names_nor_columns_change_the_task(tmp_path: Path) -> None:
    table = sentences()
    one = read(write(tmp_path, table))
    shuffled = table.sample(frac=1, random_state=1)[["label", "text"]].rename(columns={"text": "review"})
    other = read(write(tmp_path, shuffled, "other.csv"))
    assert other.task.sha256 == one.task.sha256
    assert other.items.tolist() == one.items.tolist()


def test_a_table_with_other_columns_stays_a_table_and_says_how_to_read_its_texts(tmp_path: Path) -> None:
    table = sentences(60).assign(price=np.arange(60) % 7, stars=np.arange(60) % 3)
    path = write(tmp_path, table)
    data = read_source(path)
    assert data.task.modality == "table"
    assert any("'text' looks like sentences" in note and "--modality text" in note for note in data.task.notes)
    texts = read(path, modality="text")
    assert pairs(texts) == set(table[["text", "label"]].itertuples(index=False, name=None))
    assert "Left out the columns 'price', 'stars'." in texts.task.notes


def test_a_table_without_texts_says_nothing_of_them(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": np.arange(40), "city": ["Rome", "Bonn"] * 20, "label": LABELS * 20})
    data = read_source(write(tmp_path, table))
    assert data.task.modality == "table"
    assert not any("sentences" in note for note in data.task.notes)


def test_words_that_may_mean_missing_are_texts_and_classes(tmp_path: Path) -> None:
    names = ["NA", "None", "Nan", "null", *[f"{a}{b}a" for a in "BCDFG" for b in "aeiou"]]
    table = pd.DataFrame({"name": names, "label": ["None" if n % 2 else "some" for n in range(len(names))]})
    data = read(write(tmp_path, table))
    assert pairs(data) == set(table.itertuples(index=False, name=None))


def test_numbers_and_truth_as_classes_keep_their_names_in_order(tmp_path: Path) -> None:
    table = sentences(60).assign(label=[[10, 2, 1][n % 3] for n in range(60)])
    data = read(write(tmp_path, table))
    assert data.class_names == ("1", "2", "10")
    truth = read(write(tmp_path, sentences().assign(label=[bool(n % 2) for n in range(40)]), "truth.csv"))
    assert truth.class_names == ("False", "True")


def test_one_of_several_tasks_is_taken_by_its_key(tmp_path: Path) -> None:
    table = pd.concat([sentences(40).assign(task="a"), sentences(60).assign(task="b")])
    path = write(tmp_path, table)
    data = read(path, options={"key": "b"})
    assert pairs(data) == set(sentences(60).itertuples(index=False, name=None))
    with pytest.raises(InvalidTaskError, match=r"one task in my.csv; its column 'task' names 2: 'a', 'b'.*option key"):
        read(path)
    with pytest.raises(InvalidTaskError, match=r"rows of the task 'c' in my.csv; it has 'a', 'b'"):
        read(path, options={"key": "c"})


def test_test_rows_are_those_of_the_file_also_where_a_key_chooses_among_them(tmp_path: Path) -> None:
    table = pd.concat([sentences(40).assign(task="a"), sentences(60).assign(task="b")], ignore_index=True)
    rows = list(range(0, 10)) + list(range(50, 62))
    data = read(write(tmp_path, table), options={"key": "b"}, test_rows=rows)
    assert set(data.test_items.tolist()) == set(table.text[50:62])


def test_a_key_without_its_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidTaskError, match=r"Expected a column 'task' in my.csv, as the option key was given"):
        read(write(tmp_path, sentences()), options={"key": "b"})


def test_a_column_that_says_what_is_for_the_test_is_kept_to(tmp_path: Path) -> None:
    table = sentences(60).assign(split=["test" if n % 10 < 2 else "train" for n in range(60)])
    data = read(write(tmp_path, table))
    assert set(data.test_items.tolist()) == set(table.text[table.split == "test"])
    renamed = write(tmp_path, table.rename(columns={"split": "side"}), "other.csv")
    other = read(renamed, modality="text", options={"split": "side"})
    assert other.task.sha256 == data.task.sha256


def test_what_one_author_wrote_stays_on_one_side(tmp_path: Path) -> None:
    table = sentences(60).assign(author=[f"p{n // 2 % 10}" for n in range(60)])
    data = read(write(tmp_path, table))
    author = dict(table[["text", "author"]].itertuples(index=False, name=None))
    sides = {(author[text], held) for text, held in zip(data.items.tolist(), data.is_test.tolist(), strict=True)}
    assert len(sides) == 10
    assert "Took the column 'author' as what belongs together." in data.task.notes


def test_texts_that_differ_in_case_and_punctuation_stay_on_one_side(tmp_path: Path) -> None:
    table = sentences(40)
    louder = table.assign(text=table.text.str.upper() + "!")
    data = read(write(tmp_path, pd.concat([table, louder])))
    side = dict(zip(data.items.tolist(), data.is_test.tolist(), strict=True))
    assert len(side) == 80
    assert all(side[text] == side[text.upper() + "!"] for text in table.text)


def test_exact_copies_are_dropped_and_those_of_two_classes_too(tmp_path: Path) -> None:
    table = sentences(40)
    odd = pd.DataFrame({"text": ["same words here", "same words here"], "label": LABELS})
    data = read(write(tmp_path, pd.concat([table, table[:5], odd])))
    assert pairs(data) == set(table.itertuples(index=False, name=None))


def test_a_document_of_a_megabyte_is_cut_and_empty_and_missing_texts_are_one(tmp_path: Path) -> None:
    texts = [*sentences(40).text, "long words " * 100_000, "", None, " "]
    path = tmp_path / "my.jsonl"
    path.write_text("\n".join(json.dumps({"text": t, "label": LABELS[n % 2]}) for n, t in enumerate(texts)))
    data = read(path)
    assert max(map(len, data.items.tolist())) == 10_000
    assert "Cut 1 texts after 10,000 characters." in data.task.notes
    assert "3 texts are empty." in data.task.notes
    assert "" not in data.items.tolist()  # it had both classes


@pytest.mark.parametrize(
    "sign",
    [
        "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
        "\u0645\u0631\u062d\u0628\u0627 \u0639",
        "\u0939\u093f\u0928\u094d\u0926\u0940",
        "<p class='x'>&amp;&nbsp;</p>",
        'a "quoted", and; separated | text',
        "line\nbreak",
        "# no comment",
        "=1+1",
        "\u202eturned",
    ],
)
def test_odd_texts_come_through_whole(tmp_path: Path, sign: str) -> None:
    table = sentences(40)
    table["text"] = sign + " " + table.text
    assert pairs(read(write(tmp_path, table))) == set(table.itertuples(index=False, name=None))


def test_composed_and_decomposed_letters_are_one_text(tmp_path: Path) -> None:
    table = sentences(40)
    twice = pd.concat([table.assign(text="caf\u00e9 " + table.text), table.assign(text="cafe\u0301 " + table.text)])
    assert read(write(tmp_path, twice)).task.rows == 40


def test_windows_1252_is_read(tmp_path: Path) -> None:
    table = sentences(40).assign(text=lambda t: "caf\u00e9 " + t.text)
    data = read(write(tmp_path, table, encoding="cp1252"))
    assert all(text.startswith("caf\u00e9 ") for text in data.items.tolist())
    assert any("Windows-1252" in note for note in data.task.notes)


def test_items_without_a_class_are_dropped(tmp_path: Path) -> None:
    table = sentences(44)
    table.loc[40:, "label"] = None
    data = read(write(tmp_path, table))
    assert data.task.rows == 40
    assert "Dropped 4 items without a class." in data.task.notes


@pytest.mark.parametrize(
    ("table", "given", "message"),
    [
        (sentences(40).assign(label="x"), {"modality": "text"}, "at least 2 classes in my.csv"),
        (sentences(2), {"modality": "text"}, "at least 20 different items with a class in my.csv; found 2"),
        (sentences(40)[:0], {"modality": "text"}, "Expected rows in my.csv"),
        (sentences(40)[["text"]].assign(n=range(40)), {"modality": "text"}, "which column holds the classes"),
        (sentences(40), {"kind": "regression"}, "Expected classes of items to tell apart in my.csv"),
        (sentences(40), {"options": {"txt": "a"}}, "only the options text, group, split, key.*found 'txt'"),
        (sentences(40), {"options": {"text": 3}}, "a name as the option text of my.csv; got 3"),
        (sentences(40), {"options": {"text": []}}, "a name as the option text of my.csv"),
        (sentences(40), {"target": "sentiment"}, "Expected the target column 'sentiment'"),
        (sentences(40), {"test_rows": [99]}, r"test_rows below 40"),
        (
            sentences(40).assign(label=range(40)),
            {"modality": "text", "target": "label"},
            "found 40 classes of 40 items",
        ),
    ],
)
def test_what_cannot_be_a_task_says_why(tmp_path: Path, table: pd.DataFrame, given: dict, message: str) -> None:
    with pytest.raises(InvalidTaskError, match=message):
        read_source(write(tmp_path, table), **given)


def test_repeated_names_of_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("text,text,label\n" + "a b c,d e f,x\ng h i,j k l,y\n" * 20)
    with pytest.raises(InvalidTaskError, match=r"different column names in my.csv; found 'text'"):
        read(tmp_path / "my.csv", modality="text")


@pytest.mark.parametrize(
    "content", [b"", b"text,label\n", b"\x00\x01\x02", b'text,label\n"open quote,a\n', b"just a line"]
)
def test_files_that_are_no_tables_are_left_to_the_reader_of_tables(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "my.csv"
    path.write_bytes(content)
    assert not TEXT_MODALITY.recognises(path)
    assert find_modality(path).name == "table"
    with pytest.raises(InvalidTaskError, match=r"my\.csv"):
        read_source(path, modality="text")


def test_a_broken_parquet_file_is_not_recognised(tmp_path: Path) -> None:
    path = tmp_path / "my.parquet"
    sentences().to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert not TEXT_MODALITY.recognises(path)
    with pytest.raises(InvalidTaskError, match="whole parquet file"):
        read_source(path, modality="text")


STRAY = [
    ("ham", '"Go until jurong point, crazy'),
    ("spam", 'Free "entry" in 2 a wkly comp'),
    ("ham", '"Yes" he said, "and no'),
    ("spam", 'call 0800 now"'),
    ("ham", 'a screen of 5" or so'),
    ("spam", '"all of it is quoted"'),
]


def write_stray(path: Path, lines_end: str = "\n") -> list[tuple[str, str]]:
    """Write labels and sentences separated by tabs, as the SMS spam collection is, marks as somebody typed them."""
    rows = [(label, text if n < 6 else f"{text} number {n}") for n in range(36) for label, text in [STRAY[n % 6]]]
    path.write_bytes("".join(f"{label}\t{text}{lines_end}" for label, text in rows).encode())
    return rows


@pytest.mark.parametrize("name", ["sms.csv", "sms.tsv", "sms.txt"])
@pytest.mark.parametrize("lines_end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", ["", "class\ttext"])
def test_quotation_marks_that_enclose_nothing_are_part_of_the_texts(
    tmp_path: Path, name: str, lines_end: str, header: str
) -> None:
    path = tmp_path / name
    rows = write_stray(path, lines_end)
    if header:
        path.write_bytes((header + lines_end).encode() + path.read_bytes())
    data = read(path, modality="text")
    assert pairs(data) == {(text, label) for label, text in rows}
    assert len(data.items) == len(rows)
    assert any("quotation marks" in note for note in data.task.notes)
    assert any("as it names no columns" in note for note in data.task.notes) == (not header)
    assert find_modality(path, None).name == "text" or name.endswith(".txt")


def test_marks_around_fields_are_still_no_part_of_them(tmp_path: Path) -> None:
    rows = [(f'He said "{n}",\nand\twent' if n % 2 else f"plain {n} words", LABELS[n % 2]) for n in range(30)]
    frame = pd.DataFrame(rows, columns=["text", "label"])
    for name, options in {"t.tsv": {"sep": "\t"}, "all.tsv": {"sep": "\t", "quoting": 1}, "t.csv": {}}.items():
        data = read(write(tmp_path, frame, name, **options))
        assert pairs(data) == {(text, label) for text, label in rows}
        assert not any("quotation marks" in note for note in data.task.notes)


def test_a_field_that_is_cut_short_is_still_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.tsv"
    path.write_text("text\tlabel\n" + "".join(f'"a sentence {n}"\t{LABELS[n % 2]}\n' for n in range(30)) + '"cut\tgo')
    with pytest.raises(InvalidTaskError, match=r"that begins on line 32 does not"):
        read(path, modality="text")


def test_a_class_that_is_called_like_its_column_is_no_row(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [f"sentence of number {n}" for n in range(30)], "spam": ["spam", "ham"] * 15})
    assert len(read(write(tmp_path, frame), target="spam").items) == 30
    assert len(read(write(tmp_path, frame)).items) == 30
