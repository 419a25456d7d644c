"""``pvelab cluster``: what may be chosen for a running cluster (see docs/lab-cluster.md)."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from pvelab.answers import emit

Pairs = list[str] | None


def cluster(
    time_factor: Annotated[
        float | None,
        typer.Option(
            help="How much faster the waits after a loss (watchdog, locks, HA) pass: 1 to 1000."
        ),
    ] = None,
    qdevice: Annotated[
        bool | None, typer.Option("--qdevice/--no-qdevice", help="A third vote outside the nodes.")
    ] = None,
    zfs: Annotated[
        Pairs,
        typer.Option(
            metavar="STORAGE",
            help="Make a thin pool of every node a ZFS pool: only those can be replicated.",
        ),
    ] = None,
    replicate: Annotated[
        Pairs,
        typer.Option(
            metavar="VMID:NODE[:SECONDS]",
            help="Copy a guest's disks to a node at intervals (900 s).",
        ),
    ] = None,
    no_replication: Annotated[
        bool, typer.Option("--no-replication", help="Replicate nothing any more.")
    ] = False,
    drift: Annotated[
        Pairs, typer.Option(metavar="NODE:SECONDS", help="How far a node's clock is ahead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show or change votes, clocks and replication of the running lab's cluster. Changes are kept
    over a restart.
    """
    from pvelab.directories import lab_dir
    from pvelab.faults.client import LabClient

    client, chosen = LabClient(lab_dir(), "/lab/cluster"), dict[str, Any]()
    if time_factor is not None:
        chosen["time_factor"] = time_factor
    if qdevice is not None:
        chosen["qdevice"] = qdevice
    if zfs:
        chosen["zfs"] = zfs
    if replicate or no_replication:
        chosen["replication"] = dict(_job(text) for text in replicate or ())
    if drift:
        chosen["drift"] = dict(_parts(text, 2, "NODE:SECONDS") for text in drift)
    found = client.ask("PUT", "", json.dumps(chosen).encode()) if chosen else client.ask("GET")
    if as_json:
        emit("cluster", found)
        return
    for key, value in found.items():
        print(f"{key:12} {json.dumps(value)}")


def _job(text: str) -> tuple[str, dict[str, Any]]:
    vmid, node, *interval = _parts(text, 3 if text.count(":") > 1 else 2, "VMID:NODE[:SECONDS]")
    return vmid, {"target": node} | ({"interval": interval[0]} if interval else {})


def _parts(text: str, count: int, form: str) -> list[str]:
    from pvelab.errors import UsageError

    parts = text.split(":")
    if len(parts) != count or not all(parts):
        raise UsageError(f"{text} is no {form}", "as in 108:lge-pve02 or clovis:-5")
    return parts
