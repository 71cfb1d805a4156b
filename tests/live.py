"""What tests share that run real servers: free ports, patience, and Dagster asked through GraphQL, as its pages ask."""

import json
import socket
import time
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

HOST = "127.0.0.1"
ANSWER_S = 300.0
"""Seconds until a server is said to hang: beside trainings on few cores an answer may take half a minute."""
LOCATION = '{repositoryName: "__repository__", repositoryLocationName: "metaflow_hpo.definitions"}'


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind((HOST, 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_for(what: str, is_so: Callable[[], bool], seconds: float, every_s: float = 1.0) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: If it is not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every_s)


def answers(url: str) -> bool:
    """Tell whether a server answers there."""
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
    except OSError:
        return False
    return True


class Dagster:
    """A Dagster that runs, asked through GraphQL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str) -> dict[str, Any]:
        """Return the data of the answer."""
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(self.url + "/graphql", body, {"content-type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310
            return dict(json.load(answer)["data"])

    def runs(self) -> list[dict[str, Any]]:
        """Return all runs, the latest first."""
        query = "{runsOrError{... on Runs{results{runId status jobName assetSelection{path}}}}}"
        return list(self.ask(query)["runsOrError"]["results"])

    def unfinished(self) -> bool:
        """Tell whether a run waits or is at work."""
        return any(run["status"] not in {"SUCCESS", "FAILURE", "CANCELED"} for run in self.runs())

    def backfills(self) -> list[str]:
        """Return the statuses of all backfills."""
        query = "{partitionBackfillsOrError{... on PartitionBackfills{results{status}}}}"
        return [found["status"] for found in self.ask(query)["partitionBackfillsOrError"]["results"]]

    def sensors(self) -> dict[str, str]:
        """Return the status of each sensor by name; none while the definitions are being loaded."""
        fields = "{... on Sensors{results{name sensorState{status}}}}"
        found = self.ask(f"{{sensorsOrError(repositorySelector: {LOCATION}){fields}}}")["sensorsOrError"]
        return {sensor["name"]: sensor["sensorState"]["status"] for sensor in found.get("results", [])}

    def turn_on(self, sensors: Iterable[str]) -> None:
        """Turn sensors on, as their switches on the page "Automation" do."""
        for name in sensors:
            selector = LOCATION.replace("}", f', sensorName: "{name}"}}')
            self.ask(f"mutation {{startSensor(sensorSelector: {selector}) {{__typename}}}}")

    def materialised(self) -> dict[str, str]:
        """Return the run of the latest materialisation of each asset that has one."""
        query = "{assetNodes{assetKey{path} assetMaterializations(limit:1){runId}}}"
        nodes = self.ask(query)["assetNodes"]
        found = {n["assetKey"]["path"][0]: n["assetMaterializations"] for n in nodes}
        return {name: events[0]["runId"] for name, events in found.items() if events}
