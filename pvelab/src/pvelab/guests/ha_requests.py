"""What is asked of HA for a guest, and who carries it out."""

from __future__ import annotations

import threading

from pvelab.guests import power
from pvelab.kernel import Lab, TaskLog

# the CRM looks at its resources every ten seconds; a lab need not be that slow
_DELAY = 1.0


def request(lab: Lab, node: str, vmid: int, state: str, log: TaskLog) -> None:
    """Note what is wanted; the task ends at once and the guest changes its state later (pve-facts
    8.2).
    """
    log.line(f"Requesting HA {'start' if state == 'started' else 'stop'} for VM {vmid}")
    lab.ha.resources[f"vm:{vmid}"]["state"] = state
    lab.ha.save()
    timer = threading.Timer(
        float(lab.settings.get("ha_delay", _DELAY)), _carry_out, (lab, node, vmid, state)
    )
    timer.daemon = True
    timer.start()


def _carry_out(lab: Lab, node: str, vmid: int, state: str) -> None:
    """What the node's local resource manager does with a request."""
    running = power.machine_of(lab, vmid) is not None
    if state == "started" and not running:
        lab.tasks.spawn(
            node, "qmstart", str(vmid), "root@pam", lambda log: power.start(lab, node, vmid, log)
        )
    elif state == "stopped" and running:
        work = lambda log: power.shutdown(lab, node, vmid, log, force=True)  # noqa: E731 - the task's whole body
        lab.tasks.spawn(node, "qmshutdown", str(vmid), "root@pam", work)
