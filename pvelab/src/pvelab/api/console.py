"""/nodes/{node}/qemu/{vmid}/vncproxy and vncwebsocket: a guest's screen (qemu-server
PVE/API2/Qemu.pm, PVE::AccessControl).

As on PVE, ``vncproxy`` starts a task that listens on a port from 5900 on for one client, gives
QEMU's own VNC server the ticket as its password (VNC looks at the first eight characters only) for
thirty seconds, and passes bytes on. ``vncwebsocket`` checks the ticket and says which port its
websocket leads to; ``pvelab.console`` carries that. Neither was recorded on a real
server: both follow PVE's code.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import selectors
import socket
import time
from contextlib import suppress
from typing import Any

from pvelab.access import Access
from pvelab.guests.power import machine_of
from pvelab.kernel import Call, Lab, LabError, TaskDied, TaskLog, route
from pvelab.vmm.machine import QemuError

PORTS = range(5900, 6000)
_OLDEST_TICKET, _CLOCK_GRACE = 40, 20  # seconds
_CONNECT_WITHIN = 10.0
_SILENT_FOR = 30.0
_LOOK_UP = 0.3
_PIECE = 65536


@route("POST", "/nodes/{node}/qemu/{vmid}/vncproxy")
def vncproxy(call: Call) -> Any:
    """Start a proxy to a guest's screen and return how to reach it."""
    lab, vmid, params = call.lab, call.lab.guests.need(call.node, call.vmid).vmid, call.params
    ticket = make_vnc_ticket(lab.access, call.auth, f"/vms/{vmid}")
    answer = {
        "user": call.auth,
        "ticket": ticket,
        "cert": (lab.etc / "pve-root-ca.pem").read_text(),
    }
    if params.get("generate-password"):
        answer["password"] = "".join(chr(secrets.randbelow(0x5E) + ord("!")) for _ in range(8))
    password = answer.get("password", ticket) if params.get("websocket") else None
    for port in PORTS:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            # two sockets may both be bound while neither listens: whoever listens first has the
            # port
            listener.listen(1)
            break
        except OSError:
            listener.close()
    else:
        raise LabError(500, "unable to find free port (5900-6000)")
    upid = call.spawn("vncproxy", vmid, lambda log: _serve(lab, vmid, listener, password, log))
    return {**answer, "port": str(listener.getsockname()[1]), "upid": upid}


@route("GET", "/nodes/{node}/qemu/{vmid}/vncwebsocket")
def vncwebsocket(call: Call) -> Any:
    """Check the ticket of a proxy and return its port. Raise LabError 401 for a ticket that is not
    for this caller and guest.
    """
    check_vnc_ticket(call.lab.access, call.params["vncticket"], call.auth, f"/vms/{call.vmid}")
    call.lab.guests.need(call.node, call.vmid)
    return {"port": call.params["port"]}


def make_vnc_ticket(access: Access, user: str, path: str, now: float | None = None) -> str:
    """Return a ticket of a user for the screen at an ACL path: ``PVEVNC:<time in
    hex>::<signature>``, good for 40 seconds.
    """
    plain = f"PVEVNC:{int(now or time.time()):08X}"
    return f"{plain}::{_sign(access, f'{plain}:{user}:{path}')}"


def check_vnc_ticket(access: Access, ticket: str, user: str, path: str) -> None:
    """Raise LabError 401 with PVE's text unless the ticket was made for that user and path and is
    fresh.
    """
    plain, _, signature = ticket.rpartition("::")
    good = hmac.compare_digest(signature.encode(), _sign(access, f"{plain}:{user}:{path}").encode())
    if (
        not good
        or not -_CLOCK_GRACE < time.time() - int(plain.removeprefix("PVEVNC:"), 16) < _OLDEST_TICKET
    ):
        raise LabError(401, "permission denied - invalid PVEVNC ticket")


def _sign(access: Access, text: str) -> str:
    digest = hmac.new(
        access.key.encode(), text.encode("utf-8", "surrogateescape"), hashlib.sha256
    ).digest()
    return base64.b64encode(digest).decode().rstrip("=")


def _serve(
    lab: Lab, vmid: int, listener: socket.socket, password: str | None, log: TaskLog
) -> None:
    """The task: one client, and QEMU's VNC server behind it. Raise TaskDied as PVE's worker
    dies.
    """
    listener.settimeout(_LOOK_UP)
    end = time.monotonic() + _CONNECT_WITHIN
    with listener:
        while time.monotonic() < end:
            log.check_cancelled()
            with suppress(TimeoutError):
                client = listener.accept()[0]
                break
        else:
            raise TaskDied("connection timed out")
    with client:
        try:
            screen = _open_screen(lab, vmid, password)
        except (QemuError, OSError) as error:
            log.line(str(error))
            raise TaskDied("Failed to run vncproxy.") from error
        with screen, selectors.DefaultSelector() as selector:
            for source, target in ((client, screen), (screen, client)):
                source.settimeout(_SILENT_FOR)
                selector.register(source, selectors.EVENT_READ, target)
            while True:
                log.check_cancelled()
                for key, _ in selector.select(_LOOK_UP):
                    try:
                        piece = key.fileobj.recv(_PIECE)  # type: ignore[union-attr]
                        key.data.sendall(piece)
                    except OSError:
                        # the other side went away with bytes on their way: the same end as a close
                        return
                    if not piece:
                        return


def _open_screen(lab: Lab, vmid: int, password: str | None) -> socket.socket:
    """Do what ``qm vncproxy`` does: set QEMU's VNC password for half a minute and connect. Raise
    QemuError or OSError.
    """
    if password is None:
        raise QemuError("LC_PVE_TICKET not set, VNC proxy without password is forbidden")
    machine: Any = machine_of(lab, vmid)
    if machine is None:
        raise QemuError(f"VM {vmid} not running")
    if lab.hypervisor.name == "simulated":
        raise QemuError(f"simulated: guest {vmid} is only modelled and has no screen")
    machine.qmp("set_password", protocol="vnc", password=password)
    machine.qmp("expire_password", protocol="vnc", time="+30")
    screen = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        screen.connect(str(machine.spec.vnc))
    except OSError:
        screen.close()
        raise
    return screen
