"""The guest agent's protocol (QEMU docs/interop/qemu-ga-ref) over the host's end of its virtio
port.
"""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

from pvelab.errors import PvelabError
from pvelab.vmm.spec import MachineSpec

# An id that no earlier connection used: what an agent still answers to that one is told apart by
# it.
_SYNC_IDS = itertools.count(time.time_ns() % 1_000_000_000)


class AgentSilent(PvelabError):
    """The agent did not answer in time: not running, frozen, or there is none."""


class AgentFailure(PvelabError):
    """The agent answered with an error; ``desc`` is its text."""

    def __init__(self, desc: str) -> None:
        super().__init__(f"guest agent: {desc}")
        self.desc = desc


def refused(spec: MachineSpec, command: str) -> int | None:
    """Given a machine and an agent command, return the answer that it gets instead of being put,
    None if it is to be put.

    Raise AgentFailure where the agent is made to refuse it.
    """
    answer = spec.refuses(command) if spec.refuses else None
    if isinstance(answer, str):
        raise AgentFailure(answer)
    return answer


class AgentChannel:
    """One guest agent. One command at a time; after a silence the next command starts on a fresh,
    synchronised connection.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._socket: socket.socket | None = None
        self._pending = b""

    def call(
        self, command: str, arguments: dict[str, object] | None = None, timeout: float = 3.0
    ) -> object:
        """Given a command, return its answer. Raise AgentSilent after ``timeout`` seconds,
        AgentFailure when it refuses.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            try:
                if self._socket is None:
                    self._open(deadline)
                self._send(
                    {"execute": command} | ({"arguments": arguments} if arguments else {}), deadline
                )
                answer = self._read(deadline)
            except (OSError, ValueError) as error:
                # Closing drops what QEMU has not passed on yet, so that polls of a dead agent do
                # not pile up.
                self._close()
                raise AgentSilent(
                    f"the guest agent did not answer {command} within {timeout:g} s"
                ) from error
        if "error" in answer:
            raise AgentFailure(str(answer["error"].get("desc", answer["error"])))
        return answer["return"]

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        with self._lock:
            self._close()

    def _open(self, deadline: float) -> None:
        """Connect, and skip everything that the agent still says to an earlier connection
        (guest-sync-delimited).
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_left(deadline))
        self._socket.connect(str(self._path))
        self._pending = b""
        number = next(_SYNC_IDS)
        # 0xFF cannot be in JSON: it makes the agent's parser forget what came before, and marks our
        # answer.
        self._send(
            {"execute": "guest-sync-delimited", "arguments": {"id": number}},
            deadline,
            prefix=b"\xff",
        )
        while True:
            while b"\xff" not in self._pending:
                self._receive(deadline)
            self._pending = self._pending.split(b"\xff", 1)[1]
            if self._read(deadline).get("return") == number:
                return

    def _send(self, message: dict[str, object], deadline: float, prefix: bytes = b"") -> None:
        if self._socket is None:
            raise OSError("not connected")
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(prefix + json.dumps(message).encode() + b"\n")

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._pending:
            self._receive(deadline)
        line, self._pending = self._pending.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def _receive(self, deadline: float) -> None:
        if self._socket is None:
            raise OSError("not connected")
        self._socket.settimeout(_left(deadline))
        chunk = self._socket.recv(65536)
        if not chunk:
            raise OSError("the agent's port was closed")
        self._pending += chunk

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _left(deadline: float) -> float:
    if (left := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    return left
