"""``backupsvc pra``: is the recovery plan kept, and the monthly report that says so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backupsvc.cli.options import AsJson

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.report.document import Document

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def status(
    language: Annotated[str, typer.Option("--language", help="en or fr.")] = "en",
    as_json: AsJson = False,
) -> None:
    """Say what is proven, what is late and what is wrong, now. Exit 1 if the site is not
    compliant.
    """
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.session import open_service
    from backupsvc.report import json

    with open_service() as service:
        document = document_of(service, None, language)
    if as_json:
        emit_json(json.status(document))
    else:
        _show(document)
    raise typer.Exit(0 if document.compliant else 1)


@app.command()
def report(
    month: Annotated[
        str | None, typer.Option("--month", help="Such as 2026-03; the current month if not given.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", help="The directory to write to; created if need be.")
    ] = Path(),
    language: Annotated[
        str | None, typer.Option("--language", help="en or fr; the policy's language if not given.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 if the site is not compliant.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which files would be written; write none.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the month's report as HTML and JSON, and print where. Exit 0 if it was written: the
    verdict stands in it.
    """
    from backupsvc.cli.output import emit_json, say
    from backupsvc.cli.session import open_service
    from backupsvc.report.write import report_files, write_report

    with open_service() as service:
        document = document_of(service, month, language)
    names = [output / name for name in report_files(document)]
    paths = names if dry_run else write_report(document, output, document.language)
    if as_json:
        answer = {
            "month": document.period.month,
            "status": document.status,
            "files": [str(path) for path in paths],
        }
        emit_json({"dry_run": dry_run} | answer)
    else:
        for path in paths:
            say(f"would write {path}" if dry_run else str(path))
    raise typer.Exit(1 if check and not document.compliant else 0)


def document_of(service: Service, month: str | None, language: str | None) -> Document:
    """Given the service, return the report; a wrong month or language is refused before the cluster
    is asked.
    """
    from dataclasses import replace

    from backupsvc import garbage
    from backupsvc.errors import UsageError
    from backupsvc.report.document import build, month_of, period_of
    from backupsvc.report.facts import collect
    from backupsvc.report.failovers import of_site
    from policies.i18n import LANGUAGES, names

    if language is not None and language not in LANGUAGES:
        raise UsageError(
            f"there is no report in {language!r}", f"choose one of: {names(LANGUAGES)}"
        )
    policy = replace(service.policy, language=language or service.policy.language)
    now = int(service.clock.now())
    month = month or month_of(now, policy.timezone)
    # a month that is none is refused before anything is collected, which takes a while
    period = period_of(month, policy.timezone, now)
    with garbage.kept_out():
        facts = collect(service.pve, service.catalog, policy, service.clock)
        facts = replace(facts, failovers=of_site(service, facts, period.start))
        return build(facts, policy, month, now)


def _show(document: Document) -> None:
    """Guests first, then the findings once each with their subjects, then what is not known."""
    from backupsvc.cli.output import say
    from backupsvc.clock import iso
    from backupsvc.report.words import chrome
    from policies.i18n import names

    if document.facts.simulated:
        say("SIMULATED: the guests of this cluster are only modelled; nothing here proves anything")
    say(f"{document.policy.site}: {document.status.replace('-', ' ')}")
    _show_guests(document)
    shortfalls = document.short_of()
    if shortfalls:
        say()
    for one in shortfalls:
        say(
            f"{one.status}: {chrome(f'of.{one.objective}', document.language)}: {one.reason}: "
            f"{names(one.guests)}"
        )
    for group in document.grouped():
        subjects = names(line.finding.subject for line in group.lines)
        say()
        say(f"{'exempted' if group.exempted else group.severity}: {group.id}: {subjects}")
        for who, cause in group.causes:
            first, *rest = cause.splitlines()
            for sentence in [first if len(group.causes) == 1 else f"{who}: {first}", *rest]:
                say(f"  {sentence}")
        for action in group.actions:
            for step in action.splitlines():
                say(f"  -> {step}")
        for item in group.below:
            whom = ", ".join(str(line.finding.vmid or line.finding.subject) for line in item.lines)
            say(f"  follows from it: {item.id}: {whom}")
    for stone in document.facts.tombstones:
        say()
        say(
            f"gone: guest {stone.tombstone.vmid} {stone.tombstone.name}".rstrip()
            + f": missing since {iso(stone.tombstone.missing_since)}, kept until "
            f"{iso(stone.until)}: {len(stone.archives)} archives, {stone.copies} copies"
        )
    if document.gaps:
        say()
    for gap in document.gaps:
        say(f"not known: {gap.text} ({gap.reason})")


def _show_guests(document: Document) -> None:
    from backupsvc.cli.output import table
    from policies import reach
    from policies.i18n import duration, typeset

    language = document.language

    def span(seconds: float | None) -> str:
        return "-" if seconds is None else typeset(duration(seconds, language), language)

    gone = reach.down(document.facts.nodes, document.facts.silent)
    rows = []
    for line in document.guests:
        item = line.assessment
        lost = f", {item.unreachable} out of reach" if item.unreachable else ""
        # a copy that boots is not yet a service
        short = " (booted)" if item.last_good and item.last_good.rung == "booted" else ""
        rows.append(
            (
                item.vmid,
                item.name,
                f"{item.node} ({gone[item.node]})" if item.node in gone else item.node,
                item.tier,
                f"{item.archives}{lost}",
                f"{span(item.rpo)} / {span(line.rpo.objective)}",
                f"{span(item.rto)} / {span(line.rto.objective)}",
                span(item.proof_age) + short,
                item.status,
            )
        )
    objectives = ("RPO / objective", "RTO / objective")
    headers = ("VMID", "name", "node", "tier", "archives", *objectives, "proven ago", "status")
    table(headers, rows)
