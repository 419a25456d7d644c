"""A cluster of modelled guests with real, small disks, asked in process as its API would be."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from pvelab import seed
from pvelab.app import dispatch
from pvelab.guests import power
from pvelab.images.site import guest
from pvelab.kernel import Lab, Upid
from pvelab.simulated import SimulatedHypervisor
from pvelab.wire import Reply, Request
from tests.unit.pvelab.guests.readers import by_both
from tests.waiting import HANGS

MIB = 1024 * 1024
HOME = "/nodes/clovis"
VMIDS = (104, 105, 108)


@dataclass
class Api:
    """The lab's API for one token (or one ticket of root)."""

    lab: Lab
    token: str = seed.ROOT_TOKEN

    def ask(self, method: str, path: str, **params: Any) -> Reply:
        """Send a request; in names of parameters ``_`` stands for ``-`` and ``__`` for ``_``.
        Return the reply as it is.
        """
        fields = {
            re.sub("(?<!_)_(?!_)", "-", name).replace("__", "_"): value
            for name, value in params.items()
        }
        sent = urlencode(fields, doseq=True)
        headers = {"authorization": f"PVEAPIToken={seed.token(self.lab, self.token)}"}
        if method in ("GET", "DELETE"):
            return dispatch(self.lab, Request(method, f"/api2/json{quote(path)}", sent, headers))
        headers |= (
            {"content-length": str(len(sent)), "content-type": "application/x-www-form-urlencoded"}
            if sent
            else {}
        )
        return dispatch(
            self.lab, Request(method, f"/api2/json{quote(path)}", "", headers, sent.encode())
        )

    def __call__(self, method: str, path: str, **params: Any) -> Any:
        """Return the data of a request that must succeed."""
        reply = self.ask(method, path, **params)
        assert reply.status == 200, (reply.status, reply.reason, reply.body)
        return json.loads(reply.body)["data"]

    def refused(self, method: str, path: str, **params: Any) -> tuple[int, str]:
        """Return the status and text of a request that must fail; for wrong parameters their map
        instead of the text.
        """
        reply = self.ask(method, path, **params)
        assert reply.status != 200, reply.body
        answer = json.loads(reply.body)
        return reply.status, str(answer["errors"]) if "errors" in answer else reply.reason

    def task(self, method: str, path: str, **params: Any) -> tuple[str, list[str]]:
        """Return the exit status and log of the task that a request starts."""
        return self.ended(self(method, path, **params))

    def ended(self, upid: str) -> tuple[str, list[str]]:
        """Wait for a task and return its exit status and log."""
        return self.lab.tasks.wait(upid, HANGS), self.lab.tasks.log(Upid.parse(upid)) or []

    def dump(self, vmid: int, **params: Any) -> str:
        """Back a guest up to ``local`` and return its archive's volid; both readers read the
        archive whole and agree on it.
        """
        before = set(self.archives())
        status, log = self.task(
            "POST",
            f"{HOME}/vzdump",
            **{"vmid": vmid, "storage": "local", "compress": "zstd", **params},
        )
        assert status == "OK", log
        (volid,) = set(self.archives()) - before
        if volid.partition(":backup/")[2].startswith("vzdump-qemu-"):
            by_both(self.lab.storage_dir("clovis", "local") / "dump" / volid.partition("/")[2])
        return volid

    def archives(self) -> list[str]:
        """Return the volids of all archives on ``local``."""
        return [
            row["volid"] for row in self("GET", f"{HOME}/storage/local/content", content="backup")
        ]

    def start(self, vmid: int) -> None:
        """Switch a guest on."""
        vm = self.lab.guests.get(vmid)
        assert vm
        power.start_machine(self.lab, vm)

    def with_token(self, token: str) -> Api:
        """Return the same lab's API for another token."""
        return Api(self.lab, token)


def fill(path: Path, size: int, seed_number: int) -> str:
    """Make a disk with data, zeroes that are written and holes; return its SHA-256."""
    source = random.Random(seed_number)
    with path.open("wb") as file:
        file.truncate(size)
        for offset in (0, size // 4, size // 2 + 4096 * 3, size - 5000):
            file.seek(offset)
            file.write(
                source.randbytes(4000) + bytes(200_000)
                if offset == size // 4
                else source.randbytes(4100)
            )
        file.seek(size // 2 + 100_000)
        file.write(source.randbytes(500_000))
        file.truncate(size)
    return sha256(path)


def sha256(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def release() -> str:
    """What the lab answers as: what was recorded, unless a test says otherwise."""
    return "9.0"


@pytest.fixture
def lab(tmp_path: Path, release: str) -> Iterator[Lab]:
    definition = seed.cluster() | {
        "auth_delay": 0.0,
        "vma_header_timeout": 0.2,
        "ha_delay": 0.05,
        "release": release,
    }
    run_dir = seed.new_run_dir()
    opened = seed.open_lab(tmp_path / "lab", SimulatedHypervisor(), run_dir, definition)
    seed.seed_cluster(opened)
    for vmid in VMIDS:
        disks = dict.fromkeys(guest(vmid).disks, 2 * MIB)
        for key, size in disks.items():
            fill(seed.disk_path(opened, guest(vmid), key), size, vmid)
        seed.seed_guest(opened, guest(vmid), disks)
    yield opened
    opened.hypervisor.close()
    shutil.rmtree(run_dir)


@pytest.fixture
def api(lab: Lab) -> Api:
    return Api(lab)
