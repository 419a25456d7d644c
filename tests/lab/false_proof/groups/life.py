"""The copy lives, but not as it should."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pvelab import nodes_life
from pvelab.guests import power
from pvelab.nodes_life import kill_node, revive_node
from pvelab.vmm.qmp import QemuError
from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import (
    HOME,
    START_CALL,
    Arrangement,
    Cell,
    Words,
    at,
    both,
    fault,
    policy,
)
from tests.lab.false_proof.stage import SCRATCH, Moment, Stage

IMPATIENT = policy(lambda text: text.replace("boot-timeout: 120s", "boot-timeout: 8s"))
# A copy that settles is asked for its boot id first where it has an agent, then how its process is.
# The latter is asked before each question to its agent too (a dump may hold it).
BOOT_CALL, STATUS_CALL = "/nodes/*/qemu/90??/agent/file-read", "/nodes/*/qemu/90??/status/current"


def settling_for(seconds: int) -> Arrangement:
    """Copies live on for so long after their checks. A copy in whose life something happens does
    not live to see its end.
    """
    return policy(lambda text: text.replace("settle: 1s", f"settle: {seconds}s"))


def while_it_settles(act: Callable[[Stage], object], *, agent: bool = True) -> Arrangement:
    """Something happens when PVE is asked for the copy's process for the first time in its
    settling.
    """

    @contextmanager
    def arranged(stage: Stage) -> Iterator[Words]:
        settles = Moment("GET", STATUS_CALL, lambda: act(stage), when=stage.settles)
        begins = Moment(
            "GET", BOOT_CALL, lambda: stage.moments.append(settles), after=True, when=stage.settles
        )
        stage.moments.append(begins if agent else settles)
        yield ()
        assert settles.passed, "the copy was never watched"

    return arranged


def copy_of(stage: Stage) -> int:
    return next(vmid for vmid in stage.lab.machines if vmid in SCRATCH)


def process_killed(stage: Stage) -> None:
    """The copy's QEMU process ends."""
    power.switch_off(stage.lab, copy_of(stage))


def switched_off_and_on(stage: Stage) -> None:
    """Another QEMU process under the same VMID: it boots the same disks."""
    vmid = copy_of(stage)
    power.switch_off(stage.lab, vmid)
    power.start_machine(stage.lab, stage.lab.guests.need(HOME, vmid))


def reset(stage: Stage) -> None:
    """The reset button is pressed once: process and uptime go on."""
    stage.lab.machines[copy_of(stage)].reset()


def reset_for_ever(stage: Stage) -> None:
    """The reset button is pressed again before the copy can have booted, until it is gone."""
    machine = stage.lab.machines[copy_of(stage)]

    def press() -> None:
        with suppress(QemuError):
            while machine.pid is not None:
                machine.reset()
                time.sleep(1)

    threading.Thread(target=press, daemon=True).start()


def paused(stage: Stage) -> None:
    """An administrator halts the copy's processors."""
    stage.lab.machines[copy_of(stage)].suspend()


@contextmanager
def node_loses_its_power(stage: Stage) -> Iterator[Words]:
    """The copy's node dies while it settles, and is back before the tear-down gives it up."""
    back = threading.Timer(30, lambda: revive_node(stage.lab, HOME))
    back.daemon = True

    def dies(stage: Stage) -> None:
        kill_node(stage.lab, HOME)
        back.start()

    # production stays at rest
    starts, nodes_life._start_guests = nodes_life._start_guests, lambda lab, name, log: None
    try:
        with while_it_settles(dies)(stage):
            yield ()
        back.join(60)
    finally:
        nodes_life._start_guests = starts


CELLS = (
    Cell(
        "the database is empty",
        105,
        at("POST", START_CALL, cells.database_emptied, cells.nothing),
        "failed",
        "service",
        1,
        "80",
    ),
    Cell(
        "panic at boot",
        105,
        both(IMPATIENT, fault("guest-panic", 105)),
        "failed",
        "boot",
        1,
        "no sign of life",
    ),
    Cell("service dead", 108, fault("service-down", 108), "failed", "service", 1, "80"),
    Cell(
        "the database's disk is gone",
        104,
        fault("data-disk-gone", 104),
        "failed",
        "service",
        1,
        "80",
    ),
    Cell(
        "switched off while it boots",
        105,
        both(
            IMPATIENT, at("*", "/nodes/*/qemu/90??/agent/*", cells.copy_switched_off, cells.nothing)
        ),
        "failed",
        "boot",
        1,
        "no sign of life",
    ),
    Cell(
        "dies after its check",
        108,
        both(settling_for(60), fault("guest-dies", 108, 10)),
        "failed",
        "service",
        1,
        "after its checks",
    ),
    Cell(
        "its process ends while it settles",
        105,
        both(settling_for(60), while_it_settles(process_killed)),
        "failed",
        "service",
        1,
        "after its checks",
    ),
    Cell(
        "a reset loop",
        105,
        both(settling_for(60), fault("guest-resets", 105, "--every", 12)),
        "failed",
        "service",
        1,
        "after its checks|booted anew",
    ),
    Cell(
        "one reset while it settles",
        105,
        both(settling_for(60), while_it_settles(reset)),
        "failed",
        "service",
        1,
        "after its checks|booted anew",
    ),
    Cell(
        "a reset loop, without agent",
        108,
        both(settling_for(60), while_it_settles(reset_for_ever, agent=False)),
        "failed",
        "service",
        1,
        "after its checks",
    ),
    Cell(
        "off and on while it settles",
        105,
        both(settling_for(60), while_it_settles(switched_off_and_on)),
        "failed",
        "service",
        1,
        "after its checks|booted anew",
    ),
    Cell(
        "halted while it settles",
        105,
        both(settling_for(60), while_it_settles(paused)),
        "inconclusive",
        "platform",
        1,
        "stood still",
    ),
    Cell(
        "its node dies while it settles",
        105,
        both(settling_for(60), node_loses_its_power),
        "inconclusive",
        "platform",
        1,
        "PVE could not tell|went off in the middle",
    ),
)
