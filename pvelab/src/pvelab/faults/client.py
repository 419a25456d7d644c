"""The command line's way to the faults of a running lab, as its root."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pvelab import control
from pvelab.errors import Unreachable, UsageError
from pvelab.faults.model import Fault

_TIMEOUT = 30.0


def direct(ca_file: str) -> urllib.request.OpenerDirector:
    """Given the file of a lab's CA, return what asks that lab: it is on this machine, whatever
    proxy the environment names.
    """
    context = ssl.create_default_context(cafile=ca_file)
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )


class LabClient:
    """One of the endpoints of the lab's own in a directory's lab. Raise Unreachable when no lab
    runs there.
    """

    def __init__(self, lab_dir: Path, path: str) -> None:
        if not control.status(lab_dir)["ready"]:
            raise Unreachable("no lab runs here", "`pvelab up` starts one")
        saved = json.loads((lab_dir / "settings.json").read_text(encoding="utf-8"))["pve"]
        token = json.loads((lab_dir / "root.json").read_text(encoding="utf-8"))["token"]
        # the lab's own port: a node's is closed while that node is dead
        self._url, self._header = (
            f"https://{control.own_address(lab_dir)}{path}",
            {"Authorization": f"PVEAPIToken={token}"},
        )
        self._opener = direct(saved["ca_file"])

    def ask(self, method: str, rest: str = "", body: bytes | None = None) -> Any:
        """Send a request to the path and what follows it, return the data. Raise UsageError in the
        lab's words if it refuses.
        """
        request = urllib.request.Request(self._url + rest, body, self._header, method=method)
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            told = json.load(error)
            raise UsageError(told["message"], told["hint"]) from None
        except OSError as error:
            raise Unreachable(
                f"the lab does not answer: {error}", "see its log, or `pvelab status`"
            ) from error


class FaultClient(LabClient):
    """The faults of the lab in a directory. Raise Unreachable when no lab runs there."""

    def __init__(self, lab_dir: Path) -> None:
        super().__init__(lab_dir, "/lab/faults")

    def all(self) -> list[Fault]:
        """Return the faults that are set."""
        return [Fault(**row) for row in self.ask("GET")]

    def add(self, kind: str, options: Mapping[str, Any]) -> Fault:
        """Set a fault. Raise UsageError in the lab's words if that cannot be."""
        return Fault(
            **self.ask("POST", "", json.dumps({"kind": kind, "options": dict(options)}).encode())
        )

    def clear(self, number: int | None = None) -> list[Fault]:
        """Clear one fault, or all, and return them. Raise UsageError if there is none of that
        number.
        """
        return [
            Fault(**row) for row in self.ask("DELETE", f"/{number}" if number is not None else "")
        ]
