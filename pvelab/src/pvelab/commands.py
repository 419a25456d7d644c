"""The command ``pvelab``: start, stop and look at the embedded cluster. ``backupsvc lab`` offers
the same commands.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from pvelab import cluster_commands, fault_commands
from pvelab.answers import emit
from pvelab.directories import lab_dir

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="The embedded cluster: a Proxmox VE stand-in over real QEMU guests.",
)

app.command("cluster")(cluster_commands.cluster)
app.add_typer(
    fault_commands.app, name="fault", help="Break the running lab on purpose, and mend it."
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Hypervisor = Annotated[
    str,
    typer.Option(help="auto, qemu, or simulated: guests that are only modelled and prove nothing."),
]
Scale = Annotated[
    str,
    typer.Option(
        metavar="NODESxGUESTS",
        help="A big cluster of modelled guests (50x2000) with years of archives.",
    ),
]
Years = Annotated[int, typer.Option(help="How many years of nightly archives a scaled lab has.")]
WithContainer = Annotated[
    bool,
    typer.Option(
        "--with-container",
        help="Add container 200, modelled: its files are real, nothing runs in it.",
    ),
]
Release = Annotated[
    str,
    typer.Option(
        metavar="9.0|9.2",
        help="Which Proxmox VE a new lab answers as, in its version and its words (9.2).",
    ),
]
Guests = Annotated[
    str,
    typer.Option(
        metavar="VMID,...",
        help="Only these guests of the reference site, in a new lab: it is up sooner.",
    ),
]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar="PVELAB_POLICY",
        help="A policy for backupsvc, to be named in the lab's settings.",
    ),
]


def _say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


@app.callback()
def warn() -> None:
    """The embedded cluster: a Proxmox VE stand-in over real QEMU guests."""
    from pvelab import control

    factor = control.time_factor(lab_dir())
    if factor != 1:
        _say(
            f"TIME FACTOR {factor:g}: what the cluster waits for after a loss passes {factor:g} "
            "times faster than in PVE"
        )


@app.command()
def up(
    hypervisor: Hypervisor = "auto",
    scale: Scale = "",
    years: Years = 3,
    container: WithContainer = False,
    pve: Release = "",
    guests: Guests = "",
    policy: PolicyFile = None,
    as_json: Json = False,
) -> None:
    """Start the lab and wait until all its guests answer; print what points other programs at
    it.
    """
    # imported by the commands that need it: the others start faster
    from pvelab import control
    from pvelab.errors import UsageError
    from pvelab.release import release_of

    if hypervisor not in control.HYPERVISORS:
        raise UsageError(
            f"--hypervisor {hypervisor}: there is no such hypervisor",
            f"one of {', '.join(control.HYPERVISORS)}",
        )
    if pve:
        release_of({"release": pve})
    access = control.up(
        lab_dir(),
        hypervisor=hypervisor,
        scale=scale,
        years=years,
        container=container,
        release=pve,
        policy=policy,
        guests=guests,
        progress=_say,
    )
    if as_json:
        emit("up", access.as_json())
        return
    for name, value in access.environment().items():
        print(f"export {name}={shlex.quote(value)}")
    if access.hypervisor == "simulated":
        _say("SIMULATED: the guests are only modelled, nothing that is tested here is proven")


@app.command()
def down(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the lab's state, to start it again from there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Stop the lab and remove everything of it."""
    from pvelab import control

    was_there = control.down(lab_dir(), keep=keep)
    if as_json:
        emit("down", {"stopped": was_there, "kept": keep})
    else:
        _say("stopped" if was_there else "there is none")


@app.command()
def status(as_json: Json = False) -> None:
    """Say whether the lab runs, and what runs in it. Exit code 1 when it does not run."""
    from pvelab import control

    found = control.status(lab_dir())
    if as_json:
        emit("status", found)
    else:
        for key, value in found.items():
            shown = str(value)
            if isinstance(value, bool):
                shown = "yes" if value else "no"
            elif isinstance(value, dict):
                shown = ", ".join(f"{name} {item}" for name, item in value.items())
            elif isinstance(value, list):
                shown = ", ".join(value) or "none"
            print(f"{key.replace('_', ' '):12} {shown}")
    if not found["running"]:
        raise typer.Exit(1)
