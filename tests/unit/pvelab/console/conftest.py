"""A lab over TLS whose guest 108 has a screen that repeats what it is sent, as QEMU's VNC server
stands behind its socket.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pvelab.kernel import Lab
from tests.unit.pvelab.server.conftest import client, lab, nobody, served, service  # noqa: F401


@dataclass
class Screen:
    """A machine that has nothing but a VNC server; it notes what it was told over QMP."""

    path: Path
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def spec(self) -> Any:
        return SimpleNamespace(vnc=self.path)

    def status(self) -> str:
        return "running"

    def qmp(self, command: str, **arguments: Any) -> None:
        self.told.append((command, arguments))


@pytest.fixture
def screen(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:  # noqa: F811
    made = Screen(lab.run_dir / "v.sock")
    monkeypatch.setattr(lab.hypervisor, "name", "qemu")
    lab.machines[108] = made  # type: ignore[assignment]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(made.path))
        server.listen(1)
        threading.Thread(target=_repeat, args=(server,), daemon=True).start()
        yield made
        server.shutdown(socket.SHUT_RDWR)
    del lab.machines[108]


def _repeat(server: socket.socket) -> None:
    try:
        with closing(server.accept()[0]) as peer:
            while piece := peer.recv(4096):
                peer.sendall(piece)
    except OSError:
        return
