"""The lab's life: start its server detached, wait until every guest answers, stop it and leave
nothing behind.

Several labs live side by side: each has its own directory, and every port and socket is chosen when
it starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pvelab.errors import StartFailed, UsageError
from pvelab.faults import board
from pvelab.release import release_of
from pvelab.seed import STATE_FILE, chosen_guests

HYPERVISORS = ("auto", "qemu", "simulated")
RUNTIME_FILE, PROGRESS_FILE, READY_FILE, LOG_FILE = (
    "runtime.json",
    "progress.log",
    "ready.json",
    "lab.log",
)
# the first start on a machine downloads and builds the guests' parts
_MAX_START = 900.0
_MAX_STOP = 20.0


@dataclass(frozen=True)
class LabAccess:
    """A running lab: what its settings file holds, and how long it took to come up (seconds)."""

    settings_file: Path
    settings: dict[str, Any]
    hypervisor: str
    seconds: float

    def environment(self) -> dict[str, str]:
        """Return the environment that points the service at the lab, its tokens included; every
        node is named as its host.
        """
        pve, api = self.settings["pve"], self.settings.get("api", {})
        told = {name: values for name, values in self.settings.items() if name != "api"}
        told["pve"] = pve | {"host": ",".join(api.values()) or pve["host"]}
        flat: dict[str, str] = {}
        for section, values in told.items():
            for key, value in values.items() if isinstance(values, dict) else [("", values)]:
                name = f"BACKUPSVC_{section.upper()}" + (f"__{key.upper()}" if key else "")
                flat[name] = json.dumps(value) if isinstance(value, dict | bool) else str(value)
        return flat

    def as_json(self) -> dict[str, Any]:
        """Return what ``lab up --json`` prints: where the settings are, never the tokens
        themselves.
        """
        host = self.settings["pve"]["host"]
        return {
            "host": host,
            "settings": str(self.settings_file),
            "hypervisor": self.hypervisor,
            "seconds": round(self.seconds, 1),
        }


def up(
    lab_dir: Path,
    *,
    hypervisor: str = "auto",
    scale: str = "",
    years: int = 3,
    container: bool = False,
    release: str = "",
    policy: Path | None = None,
    guests: str = "",
    progress: Callable[[str], None] = lambda text: None,
) -> LabAccess:
    """Start the lab in ``lab_dir`` (from its kept state when there is one) and return when all its
    guests answer.

    ``scale`` (``50x2000``: nodes x guests) makes a new one a big cluster with ``years`` of
    archives; it needs modelled guests. ``container`` adds one modelled container. ``release``
    (``9.0`` or ``9.2``) is what a new lab answers as. ``policy`` is the file that the settings are
    to name as the policy of ``backupsvc``; a lab with a scale writes its own. ``guests``
    (``104,108``) are the VMIDs of those of the reference site that a new lab has, all eleven if
    none is named. Raise StartFailed with the server's own last words if it does not come up. A lab
    that runs already is returned as it is.
    """
    started = time.monotonic()
    guests = guests and ",".join(str(guest.vmid) for guest in chosen_guests(guests))
    if scale and guests:
        raise UsageError("--scale makes guests of its own", "leave out --guests")
    if scale and hypervisor != "simulated":
        raise UsageError(
            f"--scale {scale} is for modelled guests only", "add --hypervisor simulated"
        )
    if running(lab_dir):
        if release and (other := release_of(_read(lab_dir / STATE_FILE)).name) != release:
            raise UsageError(
                f"the lab runs already, and answers as PVE {other}", "`pvelab down` removes it"
            )
        has = _read(lab_dir / STATE_FILE).get("guests", "")
        if guests and has != guests:
            raise UsageError(
                f"the lab runs already, with guests {has or 'as its site has them'}",
                "`pvelab down` removes it",
            )
        progress("the lab runs already")
        return _wait(lab_dir, started, progress)
    if lab_dir.exists() and any(lab_dir.iterdir()) and not _is_lab(lab_dir):
        raise UsageError(
            f"{lab_dir} is not empty and holds no lab", "choose another directory with PVELAB_DIR"
        )
    lab_dir.mkdir(parents=True, exist_ok=True)
    _remove_stale(lab_dir)
    # chosen once: a kept lab refuses what it was not made with
    options = ["--hypervisor", hypervisor]
    options += ["--scale", scale, "--years", str(years)] if scale else []
    options += ["--with-container"] if container else []
    options += ["--pve", release] if release else []
    options += ["--policy", str(policy.absolute())] if policy else []
    options += ["--guests", guests] if guests else []
    return _wait(lab_dir, started, progress, _start_server(lab_dir, options))


def _start_server(lab_dir: Path, options: list[str]) -> subprocess.Popen[bytes]:
    """Start the lab's server, which outlives the command that starts it."""
    # in a session of its own, so that a closed terminal does not end it
    with (lab_dir / LOG_FILE).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pvelab.server", "--dir", str(lab_dir), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )


def down(lab_dir: Path, *, keep: bool = False) -> bool:
    """Stop the lab's server and all that it started; remove its directory unless ``keep``. Return
    whether there was a lab.
    """
    if not _is_lab(lab_dir):
        return False
    pid = running(lab_dir)
    if pid:
        _stop(pid, lab_dir)
    _remove_stale(lab_dir)
    # nothing is removed before its server has ended
    if not keep:
        shutil.rmtree(lab_dir)
    return True


def status(lab_dir: Path) -> dict[str, Any]:
    """Return whether the lab runs, since when (seconds), where, and how many of its guests run."""
    pid, runtime = running(lab_dir), _read(lab_dir / RUNTIME_FILE)
    found: dict[str, Any] = {
        "running": bool(pid),
        "ready": bool(pid) and (lab_dir / READY_FILE).is_file(),
        "directory": str(lab_dir),
    }
    if not pid:
        return found | {"kept": (lab_dir / STATE_FILE).is_file()}
    if "port" not in runtime:
        return found | {"pid": pid}  # it is still making its guests' disks
    seconds = round(time.time() - float(runtime["since"]))
    dead = [
        node["name"]
        for node in _read(lab_dir / STATE_FILE).get("nodes", [])
        if not node.get("online", True)
    ]
    resident_pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    ports = runtime["ports"] or {"the whole cluster": runtime["port"]}
    return found | {
        "pid": pid,
        "pve": release_of(_read(lab_dir / STATE_FILE)).version,
        "host": f"127.0.0.1:{runtime['port']}",
        "api": {
            name: f"127.0.0.1:{port}" + (" (dead)" if name in dead else "")
            for name, port in ports.items()
        },
        "hypervisor": runtime["hypervisor"],
        "seconds": seconds,
        "memory": resident_pages * os.sysconf("SC_PAGE_SIZE"),
        "faults": [fault.text for fault in board.read(lab_dir / board.FILE)],
        "dead_nodes": dead,
        "time_factor": time_factor(lab_dir),
    }


def own_address(lab_dir: Path) -> str:
    """Return host:port where a running lab answers for itself, whichever of its nodes live."""
    return f"127.0.0.1:{_read(lab_dir / RUNTIME_FILE)['own_port']}"


def time_factor(lab_dir: Path) -> float:
    """Return how much faster than real time the waits of the lab's cluster pass; 1 where nothing
    was chosen.
    """
    return float(_read(lab_dir / STATE_FILE).get("time_factor", 1))


def running(lab_dir: Path) -> int | None:
    """Return the process id of the lab's server when that very process still runs, else None."""
    runtime = _read(lab_dir / RUNTIME_FILE)
    pid = int(runtime.get("pid", 0))
    return pid if pid and process_start(pid) == runtime.get("started") else None


def process_start(pid: int) -> str | None:
    """Return a process's start time in clock ticks: with the pid it names one process for good.
    None if there is none.
    """
    try:
        # the program's name, in brackets before it, may hold blanks and brackets itself (proc(5))
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # a zombie keeps its pid, but runs no more
    return None if fields[0] == "Z" else fields[19]


def _wait(
    lab_dir: Path,
    started: float,
    progress: Callable[[str], None],
    server: subprocess.Popen[bytes] | None = None,
) -> LabAccess:
    """Hand on the server's progress lines until it is ready, has failed or has died."""
    seen = 0
    for _ in _looks(_MAX_START, 0.1):
        lines = _lines(lab_dir / PROGRESS_FILE)
        for line in lines[seen:]:
            progress(line)
        seen = len(lines)
        ready = _read(lab_dir / READY_FILE)
        if ready:
            settings_file = lab_dir / "settings.json"
            return LabAccess(
                settings_file, _read(settings_file), ready["hypervisor"], time.monotonic() - started
            )
        # one that another command started is known by its pid alone
        if (server.poll() is not None) if server else not running(lab_dir):
            break
    last = next(
        (line for line in reversed(_lines(lab_dir / LOG_FILE)) if line.strip()), "it said nothing"
    )
    if pid := running(lab_dir):
        _stop(pid, lab_dir)
    _remove_stale(lab_dir)
    raise StartFailed(f"the lab did not come up: {last}", f"see {lab_dir / LOG_FILE}")


def _looks(seconds: float, pause: float) -> Iterator[None]:
    """Yield at once, after each ``pause``, and when ``seconds`` have passed: each time it is worth
    to look once more.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        yield
        time.sleep(min(pause, left))
    yield


def _is_lab(lab_dir: Path) -> bool:
    """Say whether a directory is a lab's, be it one whose first start was cut short."""
    return any((lab_dir / name).is_file() for name in (STATE_FILE, RUNTIME_FILE, LOG_FILE))


def _stop(pid: int, lab_dir: Path) -> None:
    """Ask the server to end; after a while insist. Its QEMU processes die with it."""
    started = process_start(pid)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        for _ in _looks(_MAX_STOP, 0.05):
            # a pid alone may be another process's by now
            if process_start(pid) != started:
                return
    raise StartFailed(f"the lab's server (process {pid}) does not end", f"see {lab_dir / LOG_FILE}")


def _remove_stale(lab_dir: Path) -> None:
    """Remove what an ended server left: its socket directory and its run-time files."""
    runtime = _read(lab_dir / RUNTIME_FILE)
    if run_dir := runtime.get("run_dir"):
        shutil.rmtree(run_dir, ignore_errors=True)
    for name in (RUNTIME_FILE, PROGRESS_FILE, READY_FILE):
        (lab_dir / name).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.is_file() else []


def write_json(path: Path, content: Any) -> None:
    """Write a file whole or not at all, readable by its owner alone: some hold tokens."""
    fresh = path.with_suffix(".tmp")
    fresh.unlink(missing_ok=True)
    # it gets its mode before it holds anything
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(content, indent=1))
    fresh.replace(path)
