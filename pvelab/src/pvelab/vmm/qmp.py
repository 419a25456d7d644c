"""QEMU's own monitor protocol (docs/interop/qmp-spec), over a unix socket."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pvelab.errors import PvelabError


class QemuError(PvelabError):
    """QEMU refused a command, or is gone."""


class Qmp:
    """One monitor connection; commands from several threads wait for each other."""

    def __init__(self, path: Path, alive: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Connect to the monitor at ``path``, waiting for QEMU to make it. Raise QemuError when it
        ends or does not come.
        """
        self._lock, self._numbers = threading.Lock(), itertools.count(1)
        deadline = time.monotonic() + timeout_s
        while True:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._socket.settimeout(timeout_s)
                self._socket.connect(str(path))
                break
            except OSError as error:
                self._socket.close()
                if not alive() or time.monotonic() > deadline:
                    raise QemuError(
                        f"QEMU did not come up: no monitor at {path} ({error})",
                        "read the machine's qemu.log",
                    ) from error
                time.sleep(0.02)
        self._lines = self._socket.makefile("rb")
        if not self._lines.readline():
            raise QemuError(
                f"QEMU closed its monitor {path} at once", "read the machine's qemu.log"
            )
        self.execute("qmp_capabilities")

    def execute(
        self, command: str, arguments: dict[str, object] | None = None, timeout: float = 60.0
    ) -> object:
        """Given a command, return its answer. Raise QemuError with QEMU's own words when it refuses
        or is gone.
        """
        with self._lock:
            number = next(self._numbers)
            message = {"execute": command, "id": number} | (
                {"arguments": arguments} if arguments else {}
            )
            try:
                self._socket.settimeout(timeout)
                self._socket.sendall(json.dumps(message).encode() + b"\n")
                # what comes before the answer are events, and answers to what was given up
                while line := self._lines.readline():
                    answer = json.loads(line)
                    if answer.get("id") != number:
                        continue
                    if "error" in answer:
                        raise QemuError(f"QEMU refused {command}: {answer['error']['desc']}")
                    return answer["return"]
                raise QemuError(f"QEMU went away during {command}")
            except OSError as error:
                raise QemuError(f"QEMU does not answer {command}: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()
        self._socket.close()
