"""No secret is shown: in messages, tracebacks, causes and logs, whatever characters it holds."""

import logging
import os
import subprocess
import sys
from pathlib import Path

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
]


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_remembered", set())
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")


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


def test_an_address_that_is_in_no_variable_is_remembered() -> None:
    remember_address(f"http://user:12/{SECRET}@host")
    assert hide_passwords(f"the password 12/{SECRET} is wrong") == "the password *** is wrong"


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
