"""An answer came that is not the service's, or not the copy's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backupsvc.clock import SystemClock, polls
from backupsvc.remote.jump import Jump
from backupsvc.settings import ProbeSettings
from policies.ownership import marker
from pvelab.guests import power
from pvelab.guests.devices import disks
from pvelab.guests.volumes import find
from pvelab.images.build import build_guest_disks
from pvelab.images.site import guest
from pvelab.kernel import ROUTES
from pvelab.vmm.accel import READY
from pvelab.vmm.machine import Machine
from pvelab.vmm.spec import Disk, MachineSpec, Nic
from tests.lab.false_proof.cells import (
    HOME,
    START_CALL,
    Arrangement,
    Cell,
    Words,
    both,
    fault,
    policy,
)
from tests.lab.false_proof.stage import Moment, Stage

LEFT_OVER = 9009
FOREIGN_MAC = "BC:24:11:0F:0F:0F"
INTERFACES = ("GET", "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces")
IMPATIENT = policy(lambda text: text.replace("boot-timeout: 120s", "boot-timeout: 8s"))


def impostor(vmid: int, *, mac: str | None = None, comes: bool = False) -> Arrangement:
    """A machine like a guest is on the isolated bridge, with the guest's address and its MAC or
    another one.

    ``comes``: only from the start of the copy on.
    """

    @contextmanager
    def arranged(stage: Stage) -> Iterator[Words]:
        folder = stage.server.run_dir / f"impostor{vmid}"
        machine = _impostor(stage, vmid, folder, mac)
        machine.start()
        try:
            _up(machine)
            if comes:
                machine.set_link(0, False)
                stage.moments.append(Moment("POST", START_CALL, lambda: machine.set_link(0, True)))
            yield ()
        finally:
            machine.stop()
            shutil.rmtree(folder, ignore_errors=True)

    return arranged


def _impostor(stage: Stage, vmid: int, folder: Path, mac: str | None) -> Machine:
    platform: Any = stage.server.platform
    like = guest(vmid)
    paths = build_guest_disks(platform._images, like, folder / "disks")
    nic = Nic(0, mac or like.nics[0].mac, "vmbr9", node=HOME)
    drives = tuple(Disk(key, path, like.disks[key]) for key, path in paths.items())
    spec = MachineSpec(
        800 + vmid, like.name, like.memory, 1, like.uuid, (nic,), drives, agent=False
    )
    return Machine(spec, folder / "run", platform.networks, platform._accelerator)


def _up(machine: Any) -> None:
    for _ in polls(SystemClock(), 90, first=0.2):
        if READY in machine.console():
            return
    raise AssertionError("the impostor did not come up")


@contextmanager
def left_over_copy(stage: Stage) -> Iterator[Words]:
    """A copy of 105 runs that the catalog knows nothing of: it was made by one that has been
    lost.
    """
    lab, original = stage.lab, stage.lab.guests.need(HOME, 105)
    config = {
        key: value for key, value in original.config.items() if key not in ("onboot", "agent")
    }
    config["net0"] = f"virtio={guest(105).nics[0].mac},bridge=vmbr9"
    config["description"] = marker("01K00000000000000000000000")
    made: list[Path] = []
    for drive in disks(original.config):
        config[drive.key] = config[drive.key].replace("vm-105-", f"vm-{LEFT_OVER}-")
        source = find(lab, HOME, drive.volume).path
        made.append(source.with_name(source.name.replace("vm-105-", f"vm-{LEFT_OVER}-")))
        shutil.copyfile(source, made[-1])
    lab.guests.create(HOME, LEFT_OVER, config)
    try:
        power.start_machine(lab, lab.guests.need(HOME, LEFT_OVER))
        _up(lab.machines[LEFT_OVER])
        yield ()
    finally:
        power.switch_off(lab, LEFT_OVER)
        lab.guests.remove(LEFT_OVER)
        for path in made:
            path.unlink()


@contextmanager
def agent_of_another(stage: Stage) -> Iterator[Words]:
    """The agent tells of the NIC of another guest."""
    real = ROUTES[INTERFACES]
    ROUTES[INTERFACES] = lambda call: {
        "result": [{"name": "eth0", "hardware-address": guest(104).nics[0].mac.lower()}]
    }
    try:
        yield ()
    finally:
        ROUTES[INTERFACES] = real


@contextmanager
def probe_forwards(stage: Stage) -> Iterator[Words]:
    """Somebody made a router of the probe."""
    with Jump(probe_settings(stage, HOME)) as jump:
        assert jump.ask("echo 1 >/proc/sys/net/ipv4/ip_forward && echo done") == "done\n"
        try:
            yield ()
        finally:
            jump.ask("echo 0 >/proc/sys/net/ipv4/ip_forward")


def probe_settings(stage: Stage, node: str) -> ProbeSettings:
    saved = json.loads((stage.shell.state / "lab" / "settings.json").read_text())
    return ProbeSettings(**saved["probes"][node])


def probe_of(**variables: str) -> Arrangement:
    """Other settings for the home node's probe."""

    @contextmanager
    def arranged(stage: Stage) -> Iterator[Words]:
        named = {
            f"BACKUPSVC_PROBES__{HOME.upper()}__{key.upper()}": value
            for key, value in variables.items()
        }
        stage.shell.env.update(named)
        try:
            yield ()
        finally:
            for name in named:
                del stage.shell.env[name]

    return arranged


def address(old: str, new: str) -> Arrangement:
    """The policy names another address."""
    return policy(lambda text: text.replace(f"address: {old}\n", f"address: {new}\n"))


WITH_AGENT: Callable[[str], str] = lambda text: text.replace(  # noqa: E731
    "checks: [{http: {port: 80, path: /login", "checks: [agent, {http: {port: 80, path: /login"
)
ANSWERS = "somebody else answers at 192.168.10."
CELLS = (
    Cell(
        "an error page with 200",
        105,
        policy(lambda text: text.replace("contains: Kanboard", "contains: Welcome")),
        "failed",
        "service",
        1,
        "Welcome",
    ),
    Cell(
        "a left-over copy answers for a panicked one",
        105,
        both(left_over_copy, fault("guest-panic", 105)),
        "inconclusive",
        "network",
        1,
        f"{ANSWERS}5 .MAC BC:24:11:00:00:05",
    ),
    Cell(
        "the production original is on the bridge",
        108,
        impostor(108),
        "inconclusive",
        "network",
        1,
        f"{ANSWERS}8",
    ),
    Cell(
        "another guest is at the address",
        108,
        impostor(108, mac=FOREIGN_MAC),
        "inconclusive",
        "network",
        1,
        f"{ANSWERS}8 .MAC {FOREIGN_MAC}",
    ),
    Cell(
        "another guest comes to the address with the start of a panicked copy",
        108,
        both(IMPATIENT, impostor(108, mac=FOREIGN_MAC, comes=True), fault("guest-panic", 108)),
        "inconclusive",
        "network",
        1,
        f"{ANSWERS}8 .MAC {FOREIGN_MAC}.; the copy's MAC is BC:24:11:00:00:08",
    ),
    Cell(
        "the production original comes to the bridge with the start of a panicked copy",
        108,
        both(IMPATIENT, impostor(108, comes=True), fault("guest-panic", 108)),
        "inconclusive",
        "network",
        1,
        "after the copy had been stopped",
    ),
    Cell(
        "the probe's own address",
        105,
        address("192.168.10.5", "192.168.10.250"),
        "inconclusive",
        "network",
        1,
        "probe's own",
    ),
    Cell(
        "an address that is not on the bridge",
        105,
        address("192.168.10.5", "10.9.9.9"),
        "inconclusive",
        "network",
        1,
        "10.9.9.9",
    ),
    Cell(
        "the probe is a router",
        108,
        probe_forwards,
        "inconclusive",
        "platform",
        4,
        "passes packets on",
    ),
    Cell(
        "no probe on the only node that can read the archive",
        108,
        probe_of(host=""),
        "inconclusive",
        "capacity",
        4,
        "no probe",
    ),
    Cell(
        "an agent of another",
        105,
        both(policy(WITH_AGENT), agent_of_another),
        "inconclusive",
        None,
        1,
        "none of these",
    ),
)
