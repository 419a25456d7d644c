"""``backupsvc ha drill --on-lab``: the reference site's own failover test, on embedded clusters that
are started for it and taken down with it.

A node is made to fail through the lab's own endpoint, at the port and with the key of a lab that
this process has just started: Proxmox VE has no such call, and the settings in force, which may
lead to a real cluster, are not even read (law 1).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backupsvc.errors import LawRefused, OperationFailed
from policies.ha.rehearsal import (
    FACTOR,
    FAILS,
    GUEST,
    SCENES,
    TAKES,
    Scene,
    Shown,
    refusal,
    why,
)

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from pvelab.faults.client import LabClient

READY_S = 30.0  # seconds in which a fresh lab must be heard, and its replica be there
LOOK_S = 0.2
_ENDS = (signal.SIGTERM, signal.SIGHUP)  # the second is a closed terminal's
SHORTENED = (
    f"HA's waits (a watchdog of 60 s, a lock of 120 s, rounds of 10 s) pass {FACTOR} times faster "
    "here than on a real cluster; guests are only modelled"
)


def rehearse(told: Callable[[str], None], scenes: Sequence[Scene] = SCENES) -> list[Shown]:
    """Given who is told how it goes, play the scenes, each on a cluster of its own, all at once, and
    return what each showed. Whatever happens, no cluster is left behind: in the main thread SIGTERM
    and SIGHUP raise SystemExit meanwhile.

    Raise UsageError if the lab is not installed, OperationFailed if a cluster does not come up or
    does not end; the others are taken down all the same.
    """
    from backupsvc.cli.lab import lab_errors
    from backupsvc.settings import lab_policy

    with lab_errors():
        from pvelab import control

        home = Path(tempfile.mkdtemp(prefix="backupsvc-ha-"))
        labs = [home / str(number) / "lab" for number, _ in enumerate(scenes)]

        def up(directory: Path) -> None:
            control.up(
                directory, hypervisor="simulated", guests=str(GUEST), policy=lab_policy().absolute()
            )

        def down() -> None:
            failed: list[BaseException] = []
            for directory in labs:
                try:
                    control.down(directory)
                except BaseException as error:  # noqa: BLE001 - a second Ctrl-C, too, leaves none
                    failed.append(error)
            shutil.rmtree(home, ignore_errors=True)
            if failed:
                raise failed[0]

        with _ended_by(down), ThreadPoolExecutor(len(labs), thread_name_prefix="scene") as pool:
            list(pool.map(up, labs))
            told(f"{len(labs)} clusters are up; {FAILS}, which runs {GUEST}, fails in each")
            services = [_service(directory) for directory in labs]
            return list(pool.map(_play, labs, services, scenes))


@contextmanager
def _ended_by(clean: Callable[[], None]) -> Iterator[None]:
    """Clean up whatever ends what is within: no ``finally`` runs at SIGTERM or SIGHUP by itself."""
    main = threading.current_thread() is threading.main_thread()
    # who was told not to hear a hangup (nohup) goes on
    heard = [one for one in _ENDS if main and signal.getsignal(one) is not signal.SIG_IGN]

    def deafen() -> None:
        for one in heard:
            # no SIG_IGN, which a cluster that is being started would inherit
            signal.signal(one, lambda number, frame: None)

    def end(number: int, frame: object) -> None:
        deafen()
        raise SystemExit(128 + number)

    before = [(one, signal.signal(one, end)) for one in heard]
    try:
        try:
            yield
        finally:
            deafen()
            clean()
    finally:
        for one, handler in before:
            signal.signal(one, handler or signal.SIG_DFL)


def _service(directory: Path) -> Service:
    """The service before the lab of a directory, and before nothing else."""
    from backupsvc.bootstrap import Service
    from backupsvc.clock import SystemClock
    from backupsvc.settings import lab_hosts, load_settings

    with _environment(BACKUPSVC_STATE_DIR=str(directory.parent)):
        settings, own = load_settings(), lab_hosts()
    hosts = settings.pve.host.replace(",", " ").split()
    if refused := refusal(lab=settings.lab, hosts=hosts, own=own):
        raise LawRefused(1, f"no node is made to fail: {refused}")
    return Service(settings, SystemClock())


@contextmanager
def _environment(**wanted: str) -> Iterator[None]:
    """Nothing of what the environment says to this service but ``wanted``."""
    before = {name: value for name, value in os.environ.items() if name.startswith("BACKUPSVC_")}
    for name in before:
        del os.environ[name]
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name in wanted:
            os.environ.pop(name, None)
        os.environ.update(before)


def _play(directory: Path, service: Service, scene: Scene) -> Shown:
    """Make the node fail, and listen for the guest's service until it is heard again, HA gives up,
    or nothing has happened for long.
    """
    from backupsvc.checks.watching import Watch
    from policies.ha.drill import question
    from policies.ha.failovers import PRIVILEGE
    from pvelab.accident import give
    from pvelab.faults.client import FaultClient, LabClient

    try:
        cluster = LabClient(directory, "/lab/cluster")
        try:
            give(directory, "/", PRIVILEGE, service.pve.token_id)  # what HA's log is read with
        except OSError as error:
            raise OperationFailed(f"the lab gives no right: {error}", "see `lab status`") from error
        _arrange(cluster, service, scene)
        check, address = question(service.policy, GUEST)
        if check is None or address is None:
            raise OperationFailed(
                f"the lab's policy asks nothing of guest {GUEST}", "see its checks and address"
            )
        routes, clock = service.settings.outside, service.clock
        with Watch(check, GUEST, address, routes, clock) as watch:
            _until(lambda: any(one.good for one in watch.heard()[0]), "its service is not heard")
            began = time.monotonic()
            passed = watch.heard()[1]
            FaultClient(directory).add("node-death", {"node": FAILS})
            took = time.monotonic() - began
            while True:
                time.sleep(LOOK_S)
                samples, lasted = watch.heard()
                # what was asked before it failed says nothing
                after = [one for one in samples if one.at > passed + took]
                back = next((one.at + one.took - passed for one in after if one.good), None)
                over = lasted - passed >= scene.patience or _state(service) == "error"
                if back is not None or over:
                    return _shown(service, scene, back, round(lasted - passed, 1))
    finally:
        service.close()


def _arrange(cluster: LabClient, service: Service, scene: Scene) -> None:
    """Give the cluster what the scene has, clocks that agree, and HA's waits shortened."""
    wanted: dict[str, Any] = {"qdevice": scene.third_vote, "drift": {TAKES: 0, FAILS: 0}}
    if scene.replicated:
        wanted |= {"zfs": ["local-lvm"], "replication": {str(GUEST): {"target": TAKES}}}
    cluster.ask("PUT", "", json.dumps(wanted | {"time_factor": FACTOR}).encode())
    if scene.replicated:
        ready = lambda: any(one.last_sync for one in service.pve.ha.replicas(FAILS))  # noqa: E731
        _until(ready, "its disk is not replicated")


def _until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + READY_S
    while not done():
        if time.monotonic() > end:
            raise OperationFailed(f"the lab is not ready for the test: {what}", "see `lab status`")
        time.sleep(LOOK_S)


def _state(service: Service) -> str:
    return service.pve.ha.status().services.get(f"vm:{GUEST}", "")


def _shown(service: Service, scene: Scene, back: float | None, watched: float) -> Shown:
    """What the cluster says of it when it is over, and what its log has."""
    from backupsvc.report.failovers import collect
    from policies.ha.failovers import decide

    pve = service.pve
    status = pve.ha.status()
    node = next((one.node for one in pve.cluster.guests() if one.vmid == GUEST), None)
    starts = pve.tasks.of_guest(TAKES, GUEST)
    ended = [one.status for one in sorted(starts, key=lambda one: one.starttime)]
    # nobody has left a cluster that is as new as this one: its catalog has nothing to say of it
    found = decide(collect(service, int(service.clock.now()) - 3600)).found
    return Shown(
        scene,
        None if back is None else round(back, 1),
        watched,
        status.quorate,
        node,
        status.services.get(f"vm:{GUEST}", ""),
        tuple(one for one in ended if one not in ("OK", "running")),
        next(iter(found), None),
    )


def as_dict(found: Sequence[Shown]) -> dict[str, Any]:
    """Given what was shown, return it as ``--json`` prints it: seconds are those of the lab."""
    from backupsvc.report.failovers import failover_as_dict

    return {
        "simulated": True,
        "time_factor": FACTOR,
        "guest": GUEST,
        "failed_node": FAILS,
        "as_expected": all(one.as_expected for one in found),
        "scenes": [
            {
                "third_vote": one.scene.third_vote,
                "replicated": one.scene.replicated,
                "answered": one.answered is not None,
                "answered_seconds": one.answered,
                "watched_seconds": one.watched,
                "quorate": one.quorate,
                "node": one.node,
                "state": one.state or None,
                "failed_starts": list(one.failed),
                "why": why(one),
                "log": failover_as_dict(one.log) if one.log else None,
            }
            for one in found
        ],
    }


def rows(found: Sequence[Shown]) -> list[tuple[str, str, str]]:
    """Given what was shown, return it as rows of a table: the scene, what came of it, why."""
    return [(one.scene.name, _came(one), why(one)) for one in found]


def _came(one: Shown) -> str:
    if one.answered is None and one.state == "error":
        return f"HA gave it up after {one.watched:.0f} s"
    if one.answered is None:
        return f"no answer within {one.watched:.0f} s"
    return f"answers from {one.node} after {one.answered:.1f} s"


HEADS = ("the cluster has", "what happened", "why")
