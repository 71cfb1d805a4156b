"""No secret is shown: in messages, tracebacks, causes and logs, whatever characters it holds."""

import json
import logging
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from metaflow_hpo.adapters import secrets
from metaflow_hpo.adapters.secrets import hide_in_logs, hide_passwords, keep_credentials_apart, remember_address

SECRET = "S3cr3t"  # noqa: S105
ADDRESSES = [
    f"foo://u:{SECRET}@h",
    f"http://127.0.0.1:1/?access_token={SECRET}",
    f"http://127.0.0.1:1/?x=1&api_key={SECRET}&y=2",
    f"http://user:12/{SECRET}@127.0.0.1:1",
    f"http://user:12#{SECRET}@127.0.0.1:1",
    f"http://user:12?{SECRET}@127.0.0.1:1",
    f"http://user:p@{SECRET}@127.0.0.1:1",
    f"http://user:{SECRET} with blanks@127.0.0.1:1",
    f"http://user:{SECRET}[1]@127.0.0.1:1",
    f"http://user:{SECRET}%40x@127.0.0.1:1",
    f"http://user:'{SECRET}\"@127.0.0.1:1",
    f"http://user:ü{SECRET}销@127.0.0.1:1",
    f"http://:{SECRET}@127.0.0.1:1",
    f"http://{SECRET}:@127.0.0.1:1",
    f"http://{SECRET}@127.0.0.1:1",
    f"postgresql://u:{SECRET}@127.0.0.1:1/db",
    f"postgresql://127.0.0.1:1/db?user=u&password={SECRET}",
    f"mysql+pymysql://u:{SECRET}@127.0.0.1:1/db",
    f"postgres//u:{SECRET}@127.0.0.1:1/db",
    f"u:{SECRET}@127.0.0.1:1",
]


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_remembered", set())
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")


@pytest.mark.parametrize(
    "text",
    [
        f"curl -u user:{SECRET} http://h",
        f"curl -u 'user:{SECRET}' http://h",
        f"curl --user user:{SECRET}",
        f"curl --user=user:{SECRET}",
        f"curl -uuser:{SECRET}",
        f"pwd {SECRET}",
        f"login with password {SECRET}, please",
        f"PASSWORD  {SECRET}",
        f"passphrase {SECRET};",
    ],
)
def test_what_a_command_or_a_sentence_gives_as_password_is_hidden(text: str) -> None:
    assert SECRET not in hide_passwords(text)


@pytest.mark.parametrize(
    "text", ["the password is wrong", "password must be set", "no password given", "pwd /tmp", "password of 8 signs"]
)
def test_sentences_about_passwords_stay(text: str) -> None:
    assert hide_passwords(text) == text


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("form", ["{0}", "could not connect to {0!r}", "({0})", "host {0}, and again {0}"])
def test_a_secret_of_the_environment_is_hidden_in_any_text(
    monkeypatch: pytest.MonkeyPatch, address: str, form: str
) -> None:
    monkeypatch.setenv("METAFLOW_HPO_TRACKING_URI", address)
    assert SECRET not in hide_passwords(form.format(address))


@pytest.mark.parametrize("address", ADDRESSES)
def test_parts_of_an_address_are_hidden_too(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("METAFLOW_HPO_TRACKING_URI", address)
    keep_credentials_apart(address)
    assert SECRET not in hide_passwords(f"failed: {os.environ['MLFLOW_TRACKING_PASSWORD']}")


SIGNS = "abcXYZ019!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\" \t\né销"
PLACES = [
    "http://user:{}@host:1/x",
    "postgresql://u:{}@h/db",
    "foo://{}@h",
    "http://h/?token={}&x=1",
    "http://h/?x=1&password={}",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("quoted", [str, quote, lambda text: quote(text, safe=""), quote_plus])
def test_a_secret_of_any_characters_is_hidden_whole_and_in_parts(
    monkeypatch: pytest.MonkeyPatch, place: str, quoted: Callable[[str], str]
) -> None:
    chance = random.Random(f"{place}")
    for _ in range(40):
        secret = "".join(chance.choices(SIGNS, k=chance.randint(6, 14)))
        if len(set(secret.strip())) < 4 or (quoted is str and re.search(r"&[\w.-]+=", secret)):
            continue  # what is not escaped ends where another name begins
        address = place.format(quoted(secret))
        monkeypatch.setenv("METAFLOW_HPO_TRACKING_URI", address)
        for text in (address, secret, repr(address), json.dumps([address]), f"password {secret!r}", quoted(secret)):
            shown = hide_passwords(text)
            assert secret not in shown
            assert quoted(secret) not in shown


@pytest.mark.parametrize(
    "name", ["WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PGPASSWORD", "MLFLOW_TRACKING_TOKEN"]
)
def test_secrets_of_other_variables_are_hidden(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, SECRET)
    assert hide_passwords(f"401 for {SECRET} at /x") == "401 for *** at /x"


def test_an_address_that_is_in_no_variable_is_remembered() -> None:
    remember_address(f"http://user:12/{SECRET}@host")
    assert hide_passwords(f"the password 12/{SECRET} is wrong") == "the password *** is wrong"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Authorization: Bearer {SECRET}\nHost: h", "Authorization: ***\nHost: h"),
        (f"{{'Authorization': 'Basic {SECRET}==', 'Host': 'h'}}", "{'Authorization': ***, 'Host': 'h'}"),
        (f"{{'authorization': b'Bearer {SECRET}'}}", "{'authorization': b***}"),
        ("401 for bearer abcdef0123456789", "401 for bearer ***"),
        (f"Set-Cookie: session={SECRET}; path=/", "Set-Cookie: ***"),
        (
            "https://a.blob.core.windows.net/c?sv=1&sig=ab%2Bcd%3D&x=1",
            "https://a.blob.core.windows.net/c?sv=1&sig=***&x=1",
        ),
        ("failed: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "failed: ***"),
        ("https://ghp_0123456789abcdefghij:x-oauth-basic@github.com/a", "https://***:***@github.com/a"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "***-----END PRIVATE KEY-----"),
        (f"train.py --api-key {SECRET} --lr 1", "train.py --api-key *** --lr 1"),
    ],
)
def test_tokens_in_headers_options_and_of_known_forms_are_hidden(text: str, shown: str) -> None:
    assert hide_passwords(text) == shown


@pytest.mark.parametrize(
    "text", ["0.5 of 12 trials", "http://127.0.0.1:5000/x", "task me@here.org", "model a/b@c", "s3://bucket/x"]
)
def test_what_is_no_secret_stays(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("METAFLOW_HPO_TRACKING_URI", "http://a:12@host")
    assert hide_passwords(text) == text


def test_logs_of_any_library_hide_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    before = logging.getLogRecordFactory()
    monkeypatch.setenv("METAFLOW_HPO_TRACKING_URI", f"http://u:{SECRET}@h")
    hide_in_logs()
    try:
        raise ValueError(f"http://u:{SECRET}@h")
    except ValueError:
        logging.getLogger("urllib3").exception("Retrying %s", f"/x?token={SECRET}")
    finally:
        logging.setLogRecordFactory(before)
    assert "Retrying /x?token=***" in caplog.text
    assert "ValueError: http://u:***@h" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.integration
@pytest.mark.parametrize("address", ADDRESSES[:4])
def test_no_command_shows_it_with_its_causes(tmp_path: Path, address: str) -> None:
    environment = {
        **os.environ,
        "METAFLOW_HPO_DATA": str(tmp_path),
        "METAFLOW_HPO_TRACKING_URI": address,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    command = [sys.executable, "-m", "metaflow_hpo.cli", "--debug", "audit"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "MetaflowHPOError: Expected an MLflow tracking server" in done.stderr
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize("text", ["x", "x-", "a:", "password", "://"])
def test_a_word_of_a_million_letters_is_read_in_time(text):
    # Quadratic time would be a day.
    assert hide_passwords(text * (1_000_000 // len(text))).startswith(text[0])
