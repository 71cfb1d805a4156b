"""Passwords in addresses and connection strings: they come from the environment and are shown nowhere.

Libraries quote the address they were given in their errors, whole or in parts. So an MLflow server's user and password
are taken out of its address and handed to MLflow in its own variables; and whatever is shown or recorded goes through
`hide_passwords`, which knows what a password looks like, and the very values that the environment holds.
"""

import json
import logging
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from metaflow_hpo.errors import show_controls

# All begin where a word does, so that a word of a million letters is read once and not once from each letter on.
# Up to the last `@` before a space or the next address: a password may hold a `/` or `@` that it should have escaped,
# and a slash may be missing after the scheme. Digits and a slash are a port.
_PASSWORD = re.compile(
    r"(?<![a-z0-9+.-])(?P<start>[a-z0-9+.-]+://?[^\s/:@]*):(?!\d+[/?#])(?:(?!://)\S)*@",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"(?<![a-z0-9+.-])(?P<start>[a-z0-9+.-]+://)[^\s/:@?#]{16,}@", re.IGNORECASE)
# `password=...` of a connection string or of an address's query, `AccountKey=...` of a storage's, in any spelling.
_NAMED = re.compile(
    r"(?<![\w-])(?P<name>[\w-]*?(?:passw(?:or)?d|passphrase|pwd|secret|token|credential|signature|(?:access|account|api|secret)[_-]?key)"
    r"[\"']?\s*[=:]\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s&;,)\]}\"']+)",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"(?P<start>(?:authorization|cookie)[\"']?\s*[=:]\s*(?:b(?=[\"']))?)(?:\"[^\"]*\"|'[^']*'|[^\r\n\"'}]+)|"
    r"(?P<scheme>\bbearer )[\w.~+/=-]{8,}|"
    r"(?P<option>(?<![\w-])--(?:[a-z]+-)?(?:password|token|secret|api-key) )\S+|"
    r"(?P<user>(?<![\w-])(?:-u|--user)[ =]?[\"']?[^\s:/\"']+:)\S+|"
    # A word behind is a password rather than part of a sentence where it has digits.
    r"(?P<word>(?<![\w-])(?:pwd|passwd|password|passphrase) +)(?=\S*\d)\S{4,}",
    re.IGNORECASE,
)
"""Headers of requests, options of commands, and passwords behind the word."""
_WRITTEN_OUT = re.compile(
    r"\beyJ[\w-]{8,}\.eyJ[\w-]+(?:\.[\w-]*)?|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----).)*|(?<=[?&]sig=)[^&\s\"']+|"
    r"(?<=://)[^\s/:@]{20,}(?=:\*\*\*@)",
    re.DOTALL,
)
"""Tokens and keys by their form: JSON web tokens, PEM, Azure's signatures, and a token in place of a user."""
_SECRET_NAME = re.compile(r"passw(or)?d|passphrase|pwd|secret|token|credential|signature|key$", re.IGNORECASE)
_VALUES = re.compile(r"[?&@]([\w.-]+)=(.*?)(?=&[\w.-]+=|$)", re.DOTALL)
"""Names and values of a query; a value may hold an `&` that it should have escaped."""
_HOLDERS = ("METAFLOW_HPO_", "MLFLOW_", "AWS_", "AZURE_", "PG", "POSTGRES_", "GOOGLE_", "WANDB_", "HF_", "RAY_")
"""What the names of variables begin with whose secrets may come into messages."""
_ADDRESSES = (
    "METAFLOW_HPO_TRACKING_URI",
    "METAFLOW_HPO_RAY_ADDRESS",
    "METAFLOW_HPO_DVC_REMOTE",
    "METAFLOW_HPO_POSTGRES_URL",
    "METAFLOW_HPO_DAGSTER_DATABASE",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_BACKEND_STORE_URI",
    "MLFLOW_ARTIFACTS_DESTINATION",
)
"""Variables with addresses that may hold a password."""
_SHORTEST = 4
"""Shorter values are not looked for by themselves: they would be found in everything."""
_remembered: set[str] = set()


def hide_passwords(text: str) -> str:
    """Return `text` with every password replaced by `***`: those of addresses, of names, and those that are known."""
    shown = text
    if "@" in text:  # which both look for up to the end of a word, however long
        shown = _PASSWORD.sub(r"\g<start>:***@", shown)
    shown = _NAMED.sub(r"\g<name>***", shown)
    shown = _HEADER.sub(lambda found: f"{next(filter(None, found.groups()))}***", shown)
    shown = _WRITTEN_OUT.sub("***", shown)
    if "@" in text:
        shown = _TOKEN.sub(r"\g<start>***@", shown)
    for secret in sorted(_known_secrets(), key=len, reverse=True):
        shown = shown.replace(secret, "***")
    return shown


def remember_address(address: str) -> None:
    """Hide from now on what is secret in an address that is not in the environment, such as one of pyproject.toml."""
    _remembered.update(_secrets_in(address))


def hide_in_logs() -> None:
    """Have every log record of this process, and of its libraries, hide passwords and write control characters out."""
    logging.setLogRecordFactory(_make_record)


def _make_record(*arguments: Any, **options: Any) -> logging.LogRecord:
    record = logging.LogRecord(*arguments, **options)
    record.msg, record.args = _show(record.getMessage()), None
    if record.exc_info:
        record.exc_text = _show(logging.Formatter().formatException(record.exc_info))
        record.exc_info = None  # handlers would write the original
    return record


def _show(text: str) -> str:
    return show_controls(hide_passwords(text), kept="\n\t")


def _known_secrets() -> set[str]:
    """Return the secrets of the environment as they are and as addresses spell them."""
    found = set(_remembered)
    for name, value in os.environ.items():
        if name in _ADDRESSES:
            found |= set(_secrets_in(value))
        elif _SECRET_NAME.search(name) and name.startswith(_HOLDERS):
            found |= _spellings(value)
    return {secret for secret in found if len(secret) >= _SHORTEST}


def _secrets_in(address: str) -> Iterator[str]:
    """Yield what may be secret in an address: what stands before its last `@`, and the values of its query."""
    _, separator, rest = address.partition("://")
    before, at, _ = (rest if separator else address).rpartition("@")  # a scheme may lack its colon
    if at:
        user, _, password = before.partition(":")
        for secret in (before, password or user, *(password or user).split()):
            yield from _spellings(secret)
    _, _, query = address.partition("?")
    for name, value in _VALUES.findall(f"&{query}"):
        if _SECRET_NAME.search(name):
            yield from _spellings(value)


def _spellings(secret: str) -> set[str]:
    spellings = {secret}
    for plain in (unquote(secret), unquote_plus(secret)):
        spellings |= {plain, plain.strip(), quote(plain), quote(plain, safe=""), quote_plus(plain), repr(plain)[1:-1]}
        spellings |= {json.dumps(plain, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
    return spellings | {repr(secret)[1:-1]}


def keep_credentials_apart(tracking_uri: str) -> str:
    """Return an MLflow server's address without user and password, which MLflow finds in the environment.

    Args:
        tracking_uri: `http(s)://user:password@host`; any other address is returned as it is.
    """
    remember_address(tracking_uri)
    scheme, separator, rest = tracking_uri.partition("://")
    before, at, host = rest.rpartition("@")
    if scheme not in {"http", "https"} or not at:
        return tracking_uri
    user, _, password = before.partition(":")
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(user)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(password)
    return f"{scheme}{separator}{host}"
