import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.text.columns import choose_columns, is_table_of_texts

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SENTENCES = [f"this is sentence number {word}" for word in NUMBERS]
NAMES = ["Anna", "Bert", "Carla", "Dirk", "Eva", "Fritz", "Gerda", "Hans", "Ida", "Jan"]
CLASSES = ["a", "b"] * 5


def frame(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("table", "is_texts"),
    [
        (frame(text=SENTENCES, label=CLASSES), True),
        (frame(stars=[1, 5] * 5, review=SENTENCES), True),
        (frame(name=NAMES, sex=CLASSES), True),
        (frame(text=["\u4eca\u65e5\u306f\u3044\u3044\u5929\u6c17" + name for name in NAMES], label=CLASSES), True),
        (frame(id=range(10), text=SENTENCES, label=CLASSES, author=CLASSES), True),
        (frame(task=["x"] * 10, text=SENTENCES, label=CLASSES), True),
        (pd.DataFrame({"Unnamed: 0": range(10), "text": SENTENCES, "y": CLASSES}), True),
        (frame(text=SENTENCES, label=CLASSES, price=range(10)), False),
        (frame(title=SENTENCES, body=SENTENCES, label=CLASSES), False),
        (frame(city=["Bonn", "Rome"] * 5, label=CLASSES), False),
        (frame(code=[f"A-{n:04}" for n in range(10)], label=CLASSES), False),
        (frame(day=[f"2024-03-{n:02} 12:00 h" for n in range(10, 20)], label=CLASSES), False),
        (frame(path=[f"cats/{name}.png" for name in NAMES], label=CLASSES), False),
        (frame(text=SENTENCES, price=[0.5 * n for n in range(10)]), False),
        (frame(text=SENTENCES), False),
        (frame(x=range(10), label=CLASSES), False),
        (frame(text=[None] * 10, label=CLASSES), False),
        (frame(), False),
    ],
)
def test_texts_and_their_classes_alone_are_a_table_of_texts(table: pd.DataFrame, is_texts: bool) -> None:
    assert is_table_of_texts(table) is is_texts


def test_two_columns_of_one_name_are_none() -> None:
    table = pd.concat([frame(text=SENTENCES, label=CLASSES)] * 2, axis=1)
    assert not is_table_of_texts(table)


def test_roles_are_found() -> None:
    found = choose_columns(frame(n=range(10), speaker_id=CLASSES, text=SENTENCES, label=CLASSES), None, {}, ())
    assert (found.texts, found.target, found.group, found.others) == (("text",), "label", "speaker_id", ("n",))


def test_what_is_said_wins() -> None:
    table = frame(title=SENTENCES, body=SENTENCES, label=CLASSES, kind=CLASSES, who=NAMES, speaker=CLASSES)
    found = choose_columns(table, "kind", {"text": ["title", "body"], "group": "who"}, ("label",))
    assert (found.texts, found.target, found.group) == (("title", "body"), "kind", "who")
    assert found.others == ("speaker", "label")


def test_the_target_may_be_called_as_groups_are() -> None:
    found = choose_columns(frame(text=SENTENCES, author=CLASSES), "author", {}, ())
    assert (found.target, found.group) == ("author", "")


def test_of_several_texts_the_one_with_a_usual_name_is_taken() -> None:
    assert choose_columns(frame(title=SENTENCES, text=SENTENCES, label=CLASSES), None, {}, ()).texts == ("text",)


@pytest.mark.parametrize(
    ("table", "target", "options", "message"),
    [
        (frame(a=SENTENCES, b=SENTENCES, label=CLASSES), None, {}, "one column of texts; found 'a', 'b'"),
        (frame(a=range(10), label=CLASSES), None, {}, "one column of texts; found none among 'a'"),
        (frame(text=SENTENCES, a=CLASSES, b=CLASSES), None, {}, r"which column holds the classes.*'a', 'b'"),
        (frame(text=SENTENCES, label=CLASSES), "lable", {}, "no such column. Did you mean 'label'"),
        (frame(text=SENTENCES, label=CLASSES), None, {"text": "txt"}, "Expected the text column 'txt'"),
        (frame(text=SENTENCES, label=CLASSES), None, {"group": "g"}, "Expected the group column 'g'"),
        (frame(text=SENTENCES, label=CLASSES), "text", {"text": "text"}, "another column than the text"),
    ],
)
def test_what_cannot_be_told_is_asked_for(table: pd.DataFrame, target: str, options: dict, message: str) -> None:
    with pytest.raises(InvalidTaskError, match=message):
        choose_columns(table, target, options, ())
