"""Commands about versions of the surrogate: which one serves, who decided that, and where it came from."""

from typing import Annotated

import typer

from metaflow_hpo.cli import printing
from metaflow_hpo.cli.common import Json, opened


def promote(
    version: Annotated[int, typer.Argument(min=1, help="Version of the registered surrogate.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever reads the audit.")] = "Promoted by hand.",
    as_json: Json = False,
) -> None:
    """Make a version the champion by hand: the way back to an earlier one. The gate does not undo it."""
    from metaflow_hpo.adapters.audit import promote_by_hand

    with opened() as pipeline:
        record = promote_by_hand(pipeline, version, reason)
    if as_json:
        printing.print_json(record)
    else:
        print(f"champion: version {version} (before: {record['previous'] or 'none'}); see metaflow-hpo audit")


def audit(as_json: Json = False) -> None:
    """Show every promotion and rejection: when, by whom and why."""
    from metaflow_hpo.adapters.audit import audit as read_audit

    with opened() as pipeline:
        report = read_audit(pipeline)
    if as_json:
        printing.print_json(report)
        return
    names = ("time", "outcome", "version", "champion_before", "by", "reason")
    rows = [
        [*(d[name] for name in names[:-1]), d["reason"] if d["finished"] else f"UNFINISHED: {d['reason']}"]
        for d in report["decisions"]
    ]
    champion = "no champion" if report["champion"] is None else f"champion: version {report['champion']}"
    printing.print_table(
        f"{report['name']}, {champion}", ["time", "outcome", "version", "before", "by", "reason"], rows
    )


def lineage(
    name: Annotated[str, typer.Argument(help="A version, or a recommendation_id.", metavar="ID")], as_json: Json = False
) -> None:
    """Walk back from a version or a recommendation to its run, code, meta-data, trials and raw files."""
    from metaflow_hpo.adapters.lineage import trace

    with opened() as pipeline:
        report = trace(pipeline, name)
    if as_json:
        printing.print_json(report)
    else:
        printing.show_lineage(report)
