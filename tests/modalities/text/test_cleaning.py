import pytest

from metaflow_hpo.modalities.text.cleaning import MAX_CHARACTERS, clean_text, number_alike, say_cleaned


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("cafe\u0301", "caf\u00e9"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("a\x00b\x1b", "a b"),
        ("\ud800x", "x"),
        ("<b>5 &lt; 6</b>", "<b>5 &lt; 6</b>"),
        ("  \u3042 \n", "\u3042"),
    ],
)
def test_a_text_has_one_form(raw: str, cleaned: str) -> None:
    assert clean_text(raw) == cleaned
    assert clean_text(cleaned) == cleaned


def test_a_long_text_is_cut_and_that_is_said() -> None:
    raw = ["x" * 1_000_000, "<p>short</p>", "", "a < b"]
    cleaned = [clean_text(text) for text in raw]
    assert [len(text) for text in cleaned] == [MAX_CHARACTERS, 12, 0, 5]
    assert say_cleaned(raw, cleaned) == [
        "Cut 1 texts after 10,000 characters.",
        "1 texts are empty.",
        "1 texts hold HTML, which is left as it is.",
    ]


def test_case_blanks_and_punctuation_do_not_tell_texts_apart_but_words_do() -> None:
    texts = [
        "Good film!",
        "good   film",
        "good, film...",
        "good films",
        "film good",
        "\u0915\u0940",
        "\u0915\u093e",
        "!!",
        "!?",
        "",
    ]
    numbers = number_alike(texts).tolist()
    assert numbers[0] == numbers[1] == numbers[2]
    assert len(set(numbers)) == 8
