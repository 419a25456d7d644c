"""``pvelab fault``: break the running lab on purpose, and mend it. What each fault does is told in
docs/faults.md.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from pvelab.answers import emit

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Break the running lab on purpose, and mend it.",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Place = Annotated[
    str,
    typer.Argument(
        metavar="NODE/STORAGE",
        help="A storage on a node, as in clovis/local; */nas1 for all nodes.",
    ),
]
Volid = Annotated[str, typer.Argument(help="An archive's volume id, as the storage lists it.")]
Node = Annotated[str, typer.Argument(help="A node's name.")]
Vmid = Annotated[int, typer.Argument(help="A guest; its restored copies count as the guest.")]
OfNode = Annotated[
    str,
    typer.Option(
        "--node", help="The node whose storage is meant, when several have such an archive."
    ),
]
At = Annotated[
    int, typer.Option("--at", min=-1, help="The offset in bytes; the middle when it is not given.")
]


def _client() -> Any:
    # imported by the commands that need it: the others start faster
    from pvelab.directories import lab_dir
    from pvelab.faults.client import FaultClient

    return FaultClient(lab_dir())


def _set(kind: str, as_json: bool, **options: Any) -> None:
    fault = _client().add(kind, options)
    emit(f"fault {kind}", fault.as_json()) if as_json else print(fault.text)


def _place(place: str) -> dict[str, str]:
    from pvelab.errors import UsageError

    node, slash, storage = place.partition("/")
    if not (node and slash and storage):
        raise UsageError(f"{place} is no NODE/STORAGE", "as in clovis/local")
    return {"node": node, "storage": storage}


@app.command("list")
def show(as_json: Json = False) -> None:
    """List the faults that are set, and how often each struck."""
    faults = _client().all()
    if as_json:
        emit("fault list", {"faults": [fault.as_json() for fault in faults]})
        return
    for fault in faults:
        print(fault.text)
    if not faults:
        print("no fault is set")


@app.command()
def clear(
    numbers: Annotated[
        list[int] | None, typer.Argument(help="The faults' numbers; without any, all are cleared.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Clear faults. A damaged archive stays damaged, and a sick guest comes up well at its next
    start.
    """
    client = _client()
    cleared = (
        [fault for number in numbers for fault in client.clear(number)]
        if numbers
        else client.clear()
    )
    if as_json:
        emit("fault clear", {"cleared": [fault.as_json() for fault in cleared]})
    else:
        print(f"cleared: {len(cleared)}")


@app.command()
def api(
    method: Annotated[str, typer.Argument(help="GET, POST, PUT, DELETE or *.")],
    path: Annotated[
        str, typer.Argument(help="A path behind /api2/json, * for anything: '/nodes/*/vzdump'.")
    ],
    do: Annotated[
        str,
        typer.Argument(help="error, delay, drop (before the call), drop-after (it) or garbage."),
    ],
    call: Annotated[
        int,
        typer.Option(
            min=0, help="Strike at this call alone, counted from now; 0 strikes at every one."
        ),
    ] = 0,
    status: Annotated[
        int, typer.Option(min=400, max=599, help="For error: the HTTP status.")
    ] = 500,
    text: Annotated[
        str, typer.Option(help="For error: the text.")
    ] = "the lab was told to fail here",
    seconds: Annotated[
        float, typer.Option(min=0, help="For delay: how long the answer waits.")
    ] = 5.0,
    as_json: Json = False,
) -> None:
    """Let calls of the API fail, wait, be dropped or answer garbage."""
    _set(
        "api",
        as_json,
        method=method,
        path=path,
        do=do,
        call=call,
        status=status,
        text=text,
        seconds=seconds,
    )


@app.command()
def storage_full(place: Place, as_json: Json = False) -> None:
    """Let a storage have no room left."""
    _set("storage-full", as_json, **_place(place))


@app.command()
def storage_slow(
    place: Place,
    rate: Annotated[int, typer.Argument(min=1, help="Bytes a second.")],
    as_json: Json = False,
) -> None:
    """Let dumps to a storage and restores from or to it be slow."""
    _set("storage-slow", as_json, **_place(place), rate=rate)


@app.command()
def archive_flip(volid: Volid, at: At = -1, node: OfNode = "", as_json: Json = False) -> None:
    """Flip one bit of an archive's file, for good."""
    _set("archive-flip", as_json, volid=volid, at=at, node=node)


@app.command()
def archive_truncate(volid: Volid, at: At = -1, node: OfNode = "", as_json: Json = False) -> None:
    """Cut an archive's file off, for good."""
    _set("archive-truncate", as_json, volid=volid, at=at, node=node)


@app.command()
def archive_vanish(volid: Volid, node: OfNode = "", as_json: Json = False) -> None:
    """Delete an archive's file, for good, without a task and without its notes."""
    _set("archive-vanish", as_json, volid=volid, node=node)


@app.command()
def listing_short(
    place: Place,
    missing: Annotated[int, typer.Argument(min=1, help="How many archives are missing.")],
    as_json: Json = False,
) -> None:
    """Let the last archives be missing from a storage's listings."""
    _set("listing-short", as_json, **_place(place), missing=missing)


# a negative number of seconds is no option
@app.command(context_settings={"ignore_unknown_options": True})
def drift(
    node: Node,
    seconds: Annotated[int, typer.Argument(help="Ahead; behind when negative.")],
    as_json: Json = False,
) -> None:
    """Put a node's clock wrong by so many seconds."""
    _set("drift", as_json, node=node, seconds=seconds)


@app.command()
def status_unknown(node: Node, as_json: Json = False) -> None:
    """Let a node's pvestatd be dead for five minutes: every status of it, its guests and its
    storages is unknown.
    """
    _set("status-unknown", as_json, node=node)


@app.command()
def node_death(node: Node, as_json: Json = False) -> None:
    """Cut a node's power: guests, tasks, SSH and its vote are gone at once."""
    _set("node-death", as_json, node=node)


@app.command()
def node_return(node: Node, as_json: Json = False) -> None:
    """Switch a dead node on again, as clearing its fault does."""
    from pvelab.errors import UsageError

    client = _client()
    # only what a fault killed: a lab has no other dead nodes to switch on
    dead = [fault for fault in client.all() if fault.kind == "node-death" and fault["node"] == node]
    if not dead:
        raise UsageError(f"{node} is not dead by a fault", "see `pvelab fault list`")
    cleared = [row.as_json() for fault in dead for row in client.clear(fault.id)]
    print(json.dumps({"cleared": cleared}) if as_json else f"{node} is switched on")


@app.command()
def agent_silent(vmid: Vmid, as_json: Json = False) -> None:
    """Let a guest's agent never answer."""
    _set("agent-silent", as_json, vmid=vmid)


@app.command()
def agent_refuses(
    vmid: Vmid,
    how: Annotated[
        str,
        typer.Argument(
            help="freeze (it refuses to), thaw (that fails), stays-frozen (it says that it thawed)."
        ),
    ] = "freeze",
    as_json: Json = False,
) -> None:
    """Let a guest's agent answer, but not freeze, or not thaw: with the latter two a dump leaves
    the guest frozen.
    """
    _set("agent-refuses", as_json, vmid=vmid, how=how)


@app.command()
def guest_panic(vmid: Vmid, as_json: Json = False) -> None:
    """Let a guest boot into a kernel panic, from its next start on."""
    _set("guest-panic", as_json, vmid=vmid)


@app.command()
def service_down(vmid: Vmid, as_json: Json = False) -> None:
    """Let a guest come up without its service, from its next start on. SSH and the agent still
    answer.
    """
    _set("service-down", as_json, vmid=vmid)


@app.command()
def data_disk_gone(vmid: Vmid, as_json: Json = False) -> None:
    """Let a guest start without its second disk, from its next start on."""
    _set("data-disk-gone", as_json, vmid=vmid)


@app.command()
def guest_dies(
    vmid: Vmid,
    after: Annotated[
        float, typer.Argument(min=0, help="Seconds after its console said that it is up.")
    ],
    as_json: Json = False,
) -> None:
    """Let a guest go off so many seconds after it came up, from its next start on."""
    _set("guest-dies", as_json, vmid=vmid, after=after)


@app.command()
def guest_resets(
    vmid: Vmid,
    every: Annotated[
        float, typer.Option("--every", min=0.1, help="Seconds between two resets.")
    ] = 5.0,
    as_json: Json = False,
) -> None:
    """Let a guest be reset again and again after it came up, from its next start on."""
    _set("guest-resets", as_json, vmid=vmid, every=every)


@app.command()
def task_hang(
    type: Annotated[
        str, typer.Argument(help="A task's type: vzdump, qmrestore, qmstart, qmdestroy, imgdel ...")
    ],
    as_json: Json = False,
) -> None:
    """Let the next task of a type hang before its work, until it is stopped or this is cleared."""
    _set("task-hang", as_json, type=type)


@app.command()
def vzdump_lock(node: Node, as_json: Json = False) -> None:
    """Let a node's vzdump lock be held by another."""
    _set("vzdump-lock", as_json, node=node)


@app.command()
def bridge(
    node: Node,
    do: Annotated[str, typer.Argument(metavar="port|address|guest", help="What the bridge gets.")],
    value: Annotated[
        str,
        typer.Argument(
            help="The interface (eno2), the address (10.9.0.1/24), or the VMID of a new guest."
        ),
    ],
    name: Annotated[str, typer.Option("--bridge", help="The bridge.")] = "vmbr9",
    as_json: Json = False,
) -> None:
    """Give a node's bridge a port, an address or a foreign guest, until this is cleared."""
    _set("bridge", as_json, node=node, bridge=name, do=do, value=value)
