"""Passwords in addresses and connection strings: they come from the environment and are shown nowhere.

The one thing to know: libraries quote the address they were given in their errors. So an MLflow server's user and
password are taken out of its address and handed to MLflow in its own variables, and whatever is shown or recorded goes
through `hide_passwords`.
"""

import os
import re
from urllib.parse import unquote, urlsplit

# Up to the last `@` before a space or the next address: a password may hold a `/` or `@` that it should have escaped,
# and a slash may be missing after the scheme. Digits and a slash are a port.
_PASSWORD = re.compile(
    r"(?P<start>[a-z][a-z0-9+.-]*://?[^\s/:@]*):(?!\d+[/?#])(?:(?!://)\S)*@",
    re.IGNORECASE,
)
# `password=...` of a connection string or of an address's query, `AccountKey=...` of a storage's, in any spelling.
_NAMED = re.compile(
    r"(?P<name>[\w-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|credential|signature|(?:access|account|api|secret)[_-]?key)"
    r"[\"']?\s*[=:]\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s&;,)\]}\"']+)",
    re.IGNORECASE,
)


def hide_passwords(text: str) -> str:
    """Return `text` with every password replaced by `***`: those of addresses, and what stands behind such a name."""
    return _NAMED.sub(r"\g<name>***", _PASSWORD.sub(r"\g<start>:***@", text))


def keep_credentials_apart(tracking_uri: str) -> str:
    """Return an MLflow server's address without user and password, which MLflow finds in the environment.

    Args:
        tracking_uri: `http(s)://user:password@host`; any other address is returned as it is.
    """
    parts = urlsplit(tracking_uri)
    if parts.scheme not in {"http", "https"} or "@" not in parts.netloc:
        return tracking_uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
