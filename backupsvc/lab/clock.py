"""The cluster's time: how far each node's clock is off, and how much faster than real time its waits pass.

Stamps (task times, archive names, ``/nodes/{node}/time``) are always real time plus the node's drift. Only what PVE makes one
wait for after a loss (watchdog, locks, the HA manager's rounds) is divided by the time factor, for a rehearsal of seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from backupsvc.errors import UsageError

_MOST = 1000.0
# what a kept lab's definition may be given anew
SETTINGS = ("time_factor", "qdevice", "replication", "drift")


class ClusterClock:
    """Seconds of the cluster's waits since the lab was opened: ``factor`` of them pass in a real one."""

    def __init__(self, factor: float = 1.0, source: Callable[[], float] = time.monotonic) -> None:
        self.factor, self._source = factor, source
        self._opened = source()

    def seconds(self) -> float:
        """Return how many cluster seconds have passed."""
        return (self._source() - self._opened) * self.factor

    def real(self, seconds: float) -> float:
        """Given cluster seconds, return how many real ones they take."""
        return seconds / self.factor


def apply_settings(definition: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Given a lab's definition and what was chosen for it, return the definition to go on with.

    ``time_factor`` is a number from 1 to 1000; ``qdevice`` says whether a third vote exists outside the nodes; ``replication``
    maps a VMID to ``{"target": node, "interval": seconds}``; ``drift`` maps a node to seconds. Raise UsageError for others.
    """
    names = [node["name"] for node in definition["nodes"]]
    for key in chosen:
        if key not in SETTINGS:
            raise UsageError(f"the lab has no setting {key}", f"one of {', '.join(SETTINGS)}")
    if not 1 <= float(chosen.get("time_factor", 1)) <= _MOST:
        raise UsageError(f"time factor {chosen['time_factor']} is out of range", f"from 1 to {_MOST:.0f}")
    targets = [job["target"] for job in chosen.get("replication", {}).values()]
    for name in (*chosen.get("drift", {}), *targets):
        if name not in names:
            raise UsageError(f"the lab has no node {name}", f"one of {', '.join(names)}")
    drift = chosen.get("drift", {})
    nodes = [{**node, "drift": int(drift.get(node["name"], node["drift"]))} for node in definition["nodes"]]
    return {**definition, **{key: chosen[key] for key in chosen if key != "drift"}, "nodes": nodes}
