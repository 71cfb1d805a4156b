"""The time as files, tags and answers carry it."""

from datetime import UTC, datetime


def now() -> str:
    """Return the time to the second, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
