"""The lab's server process: ``python -m pvelab.server --dir D`` runs one lab in the foreground
until SIGTERM.

It opens the state in D (or seeds the reference site there), serves the API, switches the guests on
and, when all of them answer, writes D/settings.json, which points the service at it, and
D/ready.json.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pvelab import control, power, scale, seed
from pvelab.containers import power as containers
from pvelab.containers.seed import VMID, seed_container
from pvelab.errors import PvelabError, UsageError
from pvelab.hypervisors import Platform, choose
from pvelab.kernel import Lab
from pvelab.outside import Outside
from pvelab.release import DEFAULT, RELEASES, release_of
from pvelab.serving import Front
from pvelab.upkeep import Upkeep

_log = logging.getLogger(__name__)


class LabServer:
    """One lab from start to end. ``progress`` is told, line by line, what takes time; ``size``
    makes it a scaled lab.

    ``guests`` are the VMIDs of those of the reference site that a new lab has ("": all eleven).
    ``container`` adds one modelled container to it; ``release`` is what a new one answers as;
    ``policy`` is the file that its settings are to name as the service's policy (a scaled lab
    writes its own).
    """

    def __init__(
        self,
        directory: Path,
        hypervisor: str,
        progress: Callable[[str], None],
        size: scale.Scale | None = None,
        container: bool = False,
        release: str = "",
        policy: str = "",
        guests: str = "",
    ) -> None:
        self.directory, self._progress, self._size, self._container = (
            directory,
            progress,
            size,
            container,
        )
        self._release, self._policy, self._guests = release, policy, guests
        self._runtime: dict[str, Any] = {
            "pid": os.getpid(),
            "started": control.process_start(os.getpid()),
            "since": time.time(),
        }
        self.run_dir = seed.new_run_dir()
        # noted before anything is in it, so that `down` finds it after a crash
        self._note(run_dir=str(self.run_dir))
        self._close = contextlib.ExitStack()
        self.platform: Platform = choose(self._wanted(hypervisor), self.run_dir, progress)
        # the first to be opened, the last to be closed: guests outlive whatever asks them
        self._close.callback(self.platform.close)

    def _wanted(self, hypervisor: str) -> str:
        """A kept lab goes on with the hypervisor and size that it was made for: the disks are no
        others'.
        """
        known = seed.read_definition(self.directory)
        if known and self._size and not self._size.made(known.get("scale")):
            raise UsageError("this lab was made with another size", "`pvelab down` removes it")
        if known and hypervisor not in ("auto", known["hypervisor"]):
            raise UsageError(
                f"this lab was made for the hypervisor {known['hypervisor']}",
                "`pvelab down` removes it",
            )
        if known and self._release and release_of(known).name != self._release:
            raise UsageError(
                f"this lab answers as PVE {release_of(known).name}", "`pvelab down` removes it"
            )
        if known and self._guests and known.get("guests", "") != self._guests:
            has = known.get("guests") or "as its site has them"
            raise UsageError(f"this lab was made with guests {has}", "`pvelab down` removes it")
        return str(known["hypervisor"]) if known else hypervisor

    def start(self) -> None:
        """Bring everything up; return when every guest answers."""
        began = time.monotonic()
        lab = self.lab = self._open()
        front = self.front = Front(lab)
        front.start()
        self._close.callback(front.stop)
        kept = {"port": front.port, "ports": front.ports}
        # noted, so that the next start takes the same ports where they are free
        lab.settings |= kept
        self._note(**kept, own_port=front.own.port, hypervisor=self.platform.name)
        seed.write_definition(
            self.directory, {**(seed.read_definition(self.directory) or {}), **kept}
        )
        for name, port in (front.ports or {"the whole cluster": front.port}).items():
            self._progress(f"API of {name} on https://127.0.0.1:{port}/api2/json")
        # the probe and the nodes' SSH come up while the guests boot
        with ThreadPoolExecutor(1, thread_name_prefix="appliances") as pool:
            appliances = pool.submit(self.platform.start_appliances, lab)
            (scale.power_on if lab.history else power.start_all)(lab, self._progress)
            containers.start_all(lab, self._progress)
            access = appliances.result()
        if self.platform.name == "simulated" and not lab.history:
            outside = Outside(lab)
            access |= {"outside": outside.start()}
            self._close.callback(outside.stop)
        # only now: whoever finds the settings finds guests that answer
        self._write_settings(access)
        upkeep = Upkeep(lab)
        upkeep.start()
        self._close.callback(upkeep.stop)
        seconds = round(time.monotonic() - began, 1)
        control.write_json(
            self.directory / control.READY_FILE,
            {"hypervisor": self.platform.name, "seconds": seconds},
        )
        self._progress(f"{len(lab.machines)} guests answer after {seconds} s")

    def stop(self) -> None:
        """End everything that was started."""
        self._close.close()

    def _open(self) -> Lab:
        """Open the kept state, or seed a new lab. A seeding that was cut short is begun anew."""
        definition = seed.read_definition(self.directory)
        if definition is None:
            # the definition is written last, so without one a seeding was cut short
            for name in ("etc", "nodes"):
                shutil.rmtree(self.directory / name, ignore_errors=True)
            definition = {
                **(scale.cluster(self._size) if self._size else seed.cluster()),
                "hypervisor": self.platform.name,
            }
            definition |= {"release": self._release or DEFAULT, "guests": self._guests}
            lab = seed.open_lab(self.directory, self.platform, self.run_dir, definition)
            if self._size:
                scale.seed_lab(lab)
            else:
                guests = seed.chosen_guests(self._guests)
                self._progress(f"making the disks of {len(guests)} guests")
                self.platform.make_disks(
                    {
                        guest: {key: seed.disk_path(lab, guest, key) for key in guest.disks}
                        for guest in guests
                    }
                )
                seed.seed_cluster(lab, guests)
                seed.write_root(lab)
                for guest in guests:
                    seed.seed_guest(lab, guest, guest.disks)
            seed.write_definition(self.directory, definition)
        else:
            lab = seed.open_lab(self.directory, self.platform, self.run_dir, definition)
        scale.attach(lab)
        if self._container and lab.guests.get(VMID) is None:
            seed_container(lab, next(iter(lab.nodes)))
        return lab

    def _write_settings(self, access: dict[str, Any]) -> None:
        """Write what points a program at the lab, as the settings of ``backupsvc`` (mode 0600: it
        holds tokens).

        ``pve.host`` is one address, for whoever can use but one; ``api`` has every node's.
        """
        policy = str(scale.write_policy(self.lab)) if self.lab.history else self._policy
        settings = {
            "lab": True,
            "simulated": self.platform.name == "simulated",
            "pve": {
                "host": f"127.0.0.1:{self.front.port}",
                "token": seed.token(self.lab, seed.SERVICE_TOKEN),
                "restore_token": seed.token(self.lab, seed.RESTORE_TOKEN),
                "ca_file": str(self.front.ca_file),
            },
            "api": {name: f"127.0.0.1:{port}" for name, port in self.front.ports.items()},
            "catalog": {"url": f"sqlite:///{self.directory / 'catalog.db'}"},
            **({"policy": policy} if policy else {}),
            **access,
        }
        control.write_json(self.directory / "settings.json", settings)

    def _note(self, **values: Any) -> None:
        self._runtime |= values
        control.write_json(self.directory / control.RUNTIME_FILE, self._runtime)


def main(arguments: list[str] | None = None) -> int:
    """Run a lab until SIGTERM or SIGINT. Return the exit code."""
    parser = argparse.ArgumentParser(
        prog="pvelab.server", description="Run a lab in the foreground."
    )
    parser.add_argument("--dir", type=Path, required=True, help="the lab's directory")
    parser.add_argument("--hypervisor", choices=control.HYPERVISORS, default="auto")
    parser.add_argument(
        "--scale", default="", help="nodes x guests: a cluster of modelled guests with a past"
    )
    parser.add_argument(
        "--years", type=int, default=scale.YEARS, help="how many years of archives a scaled lab has"
    )
    parser.add_argument("--with-container", action="store_true", help="add one modelled container")
    parser.add_argument("--guests", default="", help="the guests that a new lab has, by VMID")
    parser.add_argument(
        "--policy",
        default="",
        help="the file that the settings are to name as the service's policy",
    )
    parser.add_argument(
        "--pve", choices=list(RELEASES), default="", help="the release that a new lab answers as"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    directory: Path = options.dir.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # set before anything starts: a signal then ends the start in order
        signal.signal(number, lambda *_: ended.set())
    try:
        size = scale.Scale.parse(options.scale, options.years) if options.scale else None
        progress = _progress_file(directory)
        made = (options.with_container, options.pve, options.policy, options.guests)
        return _run(LabServer(directory, options.hypervisor, progress, size, *made), ended)
    except PvelabError as error:
        print(f"{error.message}. {error.hint}".strip(), file=sys.stderr)
        return error.exit_code


def _run(server: LabServer, ended: threading.Event) -> int:
    """Start in a thread, so that a signal during a long start ends it at once."""
    failure: list[BaseException] = []

    def start() -> None:
        try:
            server.start()
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it again
            failure.append(error)
            ended.set()

    threading.Thread(target=start, name="start", daemon=True).start()
    try:
        ended.wait()
    finally:
        server.stop()
    if failure:
        raise failure[0]
    return 0


def _progress_file(directory: Path) -> Callable[[str], None]:
    """Return what writes a progress line to the file that ``control.up`` follows, and to the
    log.
    """

    def progress(text: str) -> None:
        with (directory / control.PROGRESS_FILE).open("a") as file:
            file.write(f"{text}\n")
        _log.info("%s", text)

    return progress


if __name__ == "__main__":
    sys.exit(main())
