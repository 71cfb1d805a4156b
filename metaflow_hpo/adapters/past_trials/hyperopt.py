"""Hyperopt: the documents of a `Trials` as JSON; a pickle is refused, since loading one runs whatever it holds."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaflow_hpo.adapters.past_trials.source import FROM_NAME, Found, PastTrial, Status, Wanted, existing
from metaflow_hpo.adapters.past_trials.values import from_text, to_number
from metaflow_hpo.errors import InvalidTableError

_EXPORT = (
    "python -c \"import json, pickle; trials = pickle.load(open('trials.pkl', 'rb')); "
    "json.dump(trials.trials, open('trials.json', 'w'), default=str)\""
)
_STATES: Mapping[int, str] = {0: "new: not finished", 1: "running: not finished", 4: "cancelled"}
_FAILED = 3


class HyperoptSource:
    """A file is a task; a loss is minimised always; a choice is the number of its option."""

    name = "hyperopt"

    def knows_file(self, path: Path) -> bool:
        """Tell a file of documents by its ending and first key."""
        if path.suffix.lower() != ".json" or not path.is_file():
            return False
        with path.open(encoding="utf-8", errors="replace") as file:
            start = file.read(2_000).lstrip()
        return start.startswith("[") and '"misc"' in start and '"vals"' in start

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read a JSON file, all JSON files of a folder, a `Trials` or a list of its documents.

        Args:
            address: The file, folder, object or list.
            wanted: `task` is the file's name unless given.
        """
        files = _read_files(address)
        dropped: Counter[str] = Counter()
        trials = []
        for name, documents in files.items():
            for document in documents:
                status, reason = _judge(document)
                if status is None:
                    dropped[reason] += 1
                    continue
                trials.append(_read_document(document, name, status, reason))
        task = "file" if all(files) else f"{FROM_NAME}:hyperopt"
        return Found(trials, wanted.metric or "loss", "min", task, dropped=dropped)


def _read_files(address: Any) -> dict[str, Sequence[Any]]:
    documents = getattr(address, "trials", address)
    if isinstance(documents, list):
        return {"": documents}
    path = existing(address, "Hyperopt's trials as JSON")
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if not files:
            raise InvalidTableError(f"Expected JSON files in {path}; there is none. Write them by: {_EXPORT}")
        return {file.stem: _read_documents(file) for file in files}
    return {path.stem: _read_documents(path)}


def _read_documents(path: Path) -> Sequence[Any]:
    content = path.read_bytes()
    if content[:1] == b"\x80" or path.suffix.lower() in {".pkl", ".pickle", ".p", ".hyperopt"}:
        raise InvalidTableError(
            f"{path} is a pickle: loading it would run whatever it holds, so it is not read. Where you trust it, write "
            f"it as JSON: {_EXPORT}"
        )
    try:
        documents = json.loads(content)
    except ValueError as error:
        raise InvalidTableError(f"Expected JSON in {path}; found: {error}. Write it by: {_EXPORT}") from error
    if not isinstance(documents, list) or not all(isinstance(d, dict) and "misc" in d for d in documents):
        raise InvalidTableError(
            f"Expected a list of Hyperopt's documents in {path}, with state, result and misc. Write it by: {_EXPORT}"
        )
    return documents


def _judge(document: Mapping[str, Any]) -> tuple[Status | None, str]:
    state, result = int(document.get("state", 2)), document.get("result", {})
    if state in _STATES:
        return None, _STATES[state]
    if state == _FAILED or result.get("status") == "fail":
        return "failed", str(result.get("failure") or document.get("misc", {}).get("error") or "failed")
    if result.get("status") in {"new", "running", "suspended"}:
        return None, f"{result['status']}: not finished"
    return "ok", ""


def _read_document(document: Mapping[str, Any], name: str, status: Status, reason: str) -> PastTrial:
    result = document.get("result", {})
    started, ended = document.get("book_time"), document.get("refresh_time")
    return PastTrial(
        configuration={label: from_text(found[0]) for label, found in document["misc"]["vals"].items() if len(found)},
        value=to_number(result.get("loss")),
        status=status,
        reason=reason,
        test_value=to_number(result.get("true_loss")),
        duration_s=_seconds_between(started, ended),
        labels={"file": name, **{f"attr:{k}": v for k, v in dict(document.get("attachments") or {}).items()}},
    )


def _seconds_between(started: Any, ended: Any) -> float | None:
    """Return the seconds between two moments, which are text in JSON and in milliseconds."""
    import pandas as pd

    moments = pd.to_datetime(pd.Series([started, ended]).astype(str), errors="coerce")
    gap = moments.iloc[1] - moments.iloc[0]
    return None if pd.isna(gap) or gap.total_seconds() < 0 else float(gap.total_seconds())
