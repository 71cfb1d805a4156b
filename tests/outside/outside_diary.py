"""A source of past trials outside the package: a text file with lines `task: name=value, name=value -> accuracy`."""

import json
from collections import Counter

from metaflow_hpo.adapters.past_trials.source import Found, PastTrial, existing
from metaflow_hpo.errors import InvalidTableError


class Diary:
    """Values are JSON; a line that ends in `failed` is a failed trial, one in `?` has not ended."""

    name = "diary"

    def read(self, address, wanted):
        path = existing(address, "a diary of trials")
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        ended = [line for line in lines if not line.endswith("?")]
        try:
            trials = [_read_line(line) for line in ended]
        except ValueError as error:
            raise InvalidTableError(f"Expected lines `task: name=value -> accuracy` in {path}; {error}.") from error
        dropped = Counter({"not finished": len(lines) - len(ended)} if len(lines) > len(ended) else {})
        return Found(trials, "accuracy", "max", "page", dropped=dropped)


def _read_line(line):
    tried, _, outcome = line.partition(" -> ")
    task, _, values = tried.partition(": ")
    configuration = {name: json.loads(value) for name, value in (pair.split("=") for pair in values.split(", "))}
    has_failed = outcome == "failed"
    return PastTrial(
        configuration,
        None if has_failed else float(outcome),
        status="failed" if has_failed else "ok",
        labels={"page": task},
    )
