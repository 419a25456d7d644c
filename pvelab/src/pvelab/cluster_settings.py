"""What may be chosen for a running cluster, and its endpoint ``/lab/cluster`` outside PVE's API,
for root@pam alone.

GET returns the settings and which nodes live; PUT (JSON) changes some of them: ``{"time_factor":
20, "qdevice": true}``, ``{"zfs": ["local-lvm"], "replication": {"108": {"target": "lge-pve02",
"interval": 900}}}``, ``{"drift": {"clovis": 5}}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from pvelab import authentication, seed
from pvelab.errors import LabError, UsageError
from pvelab.kernel import Lab
from pvelab.moves import INTERVAL, replicated
from pvelab.nodes_life import set_drift
from pvelab.wire import JSON_TYPE, Reply, Request

PATH = "/lab/cluster"
_FASTEST = 1000
_POOL = "rpool/data"
_KEPT = ("time_factor", "qdevice", "replication")


def shown(lab: Lab) -> dict[str, Any]:
    """Return the settings in force and the nodes that are dead."""
    return {
        "time_factor": lab.clock.factor,
        "qdevice": bool(lab.settings.get("qdevice")),
        "zfs": [storage.name for storage in lab.storages.values() if storage.type == "zfspool"],
        "replication": lab.settings.get("replication", {}),
        "drift": {node.name: node.drift for node in lab.nodes.values()},
        "dead": [node.name for node in lab.nodes.values() if not node.online],
        "quorate": lab.quorate(),
    }


def change(lab: Lab, chosen: Mapping[str, Any]) -> None:
    """Put settings into force, now and when the lab is started again. Raise UsageError for one that
    cannot be.
    """
    checked = _checked(lab, chosen)
    for name, seconds in checked.pop("drift", {}).items():
        set_drift(lab, name, seconds)
    for storage in checked.pop("zfs", []):
        lab.storages[storage].type, lab.storages[storage].options = (
            "zfspool",
            {"pool": _POOL, "sparse": "1"},
        )
    lab.settings |= checked
    lab.clock.factor = float(lab.settings.get("time_factor", 1))
    if definition := seed.read_definition(lab.dir):
        kept = {key: lab.settings[key] for key in _KEPT if key in lab.settings}
        seed.write_definition(
            lab.dir,
            {**definition, **kept, "storages": [asdict(each) for each in lab.storages.values()]},
        )


def _checked(lab: Lab, chosen: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in chosen.items():
        try:
            if key == "time_factor":
                factor = float(value)
                if not 1 <= factor <= _FASTEST:
                    raise UsageError(
                        f"the time factor cannot be {factor:g}", f"from 1 to {_FASTEST}"
                    )
                found[key] = factor
            elif key == "qdevice":
                found[key] = bool(value)
            elif key == "replication":
                found[key] = {
                    str(int(vmid)): {
                        "target": _node(lab, str(job["target"])),
                        "interval": float(job.get("interval", INTERVAL)),
                    }
                    for vmid, job in value.items()
                }
                _check_replicatable(lab, map(int, value), {*chosen.get("zfs", ())})
            elif key == "zfs":
                found[key] = [_thin(lab, name) for name in value]
            elif key == "drift":
                found[key] = {_node(lab, name): int(seconds) for name, seconds in value.items()}
            else:
                raise UsageError(
                    f"the lab has no setting {key}", f"one of {', '.join(_KEPT)}, zfs, drift"
                )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{key} cannot be {value!r}", "see the example in docs/lab-cluster.md"
            ) from error
    return found


def _check_replicatable(lab: Lab, vmids: Iterable[int], zfs: set[str]) -> None:
    for vm in filter(None, map(lab.guests.get, vmids)):
        try:
            replicated(lab, vm, zfs)
        except LabError as error:
            hint = (
                "PVE replicates ZFS pools alone: `lab cluster --zfs STORAGE` makes a thin pool one"
            )
            raise UsageError(f"guest {vm.vmid}: {error.reason}", hint) from None


def _thin(lab: Lab, name: str) -> str:
    """Both lie in the same place here, so that a thin pool becomes a ZFS pool as if the nodes had
    been installed with it.
    """
    if name not in lab.storages or not lab.storages[name].block:
        known = ", ".join(storage.name for storage in lab.storages.values() if storage.block)
        raise UsageError(f"{name} is no thin pool of the lab", f"one of {known}")
    return name


def _node(lab: Lab, name: str) -> str:
    if name not in lab.nodes:
        raise UsageError(f"the lab has no node {name}", f"one of {', '.join(lab.nodes)}")
    return name


def answer(lab: Lab, request: Request) -> Reply:
    """Given a request for PATH, carry it out and return the reply."""
    try:
        if authentication.identify(lab.access, request.method, request.headers).user != "root@pam":
            raise LabError(403, "only root@pam may change the lab")
        if request.method == "PUT":
            try:
                asked = json.loads(request.body)
            except ValueError:
                asked = None
            if not isinstance(asked, dict):
                raise UsageError("the body is no JSON object", 'as in {"time_factor": 20}')
            change(lab, asked)
        elif request.method != "GET":
            raise LabError(501, f"there is no {request.method} {request.path}")
    except LabError as error:
        return _reply(
            error.status, error.reason, {"data": None, "message": error.reason, "hint": ""}
        )
    except UsageError as error:
        return _reply(
            400, error.message, {"data": None, "message": error.message, "hint": error.hint}
        )
    return _reply(200, "OK", {"data": shown(lab)})


def _reply(status: int, reason: str, content: dict[str, Any]) -> Reply:
    return Reply(status, reason.split("\n")[0], json.dumps(content).encode(), JSON_TYPE)
