"""/cluster/ha: status, resources, rules (pve-ha-manager PVE/API2/HA/*.pm; pve-facts 9.4)."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pvelab import figures
from pvelab.kernel import Call, Lab, LabError, route
from pvelab.schema.formats import split_list

_MIGRATED = "ha groups have been migrated to rules"
# PVE/API2/HA/Status.pm, in seconds: how far another node's stamp may lie in the future, and how old
# it may be
_DRIFT_TOLERATED, _FRESH = 2, 30
_DEFAULTS = {"max_restart": 1, "max_relocate": 1, "failback": 1}


@route("GET", "/cluster/ha")
def ha_index(call: Call) -> Any:
    """List what is below."""
    return [{"id": name} for name in ("status", "resources", "groups", "rules")]


@route("GET", "/cluster/ha/status")
def ha_status_index(call: Call) -> Any:
    """List what is below."""
    return [{"name": "current"}, {"name": "manager_status"}]


@route("GET", "/cluster/ha/status/current")
def ha_current(call: Call) -> Any:
    """Return quorum, master, the nodes' resource managers and the services, as the answering node
    sees them.
    """
    lab, local = call.lab, call.local
    quorate = lab.quorate()
    quorum = {"id": "quorum", "type": "quorum", "node": local, "quorate": int(quorate)}
    rows: list[dict[str, Any]] = [
        {**quorum, "status": "OK" if quorate else f"No quorum on node '{local}'!"}
    ]
    if not lab.ha.master:
        return rows + [_service(lab, sid) for sid in sorted(lab.ha.resources)]
    master = {
        "id": "master",
        "type": "master",
        "node": lab.ha.master,
        "timestamp": _last_stamp(lab, lab.ha.master),
    }
    rows.append(
        {
            **master,
            "status": f"{lab.ha.master} ({_age_word(call, lab.ha.master, 'active')}, "
            f"{_stamp(lab, lab.ha.master)})",
        }
    )
    if lab.release.newer:  # pve-ha-manager 5.1.3
        rows.append(
            {
                "id": "fencing",
                "type": "fencing",
                "node": local,
                "status": "armed",
                "armed-state": "armed",
            }
        )
    rows += [_lrm(call, name) for name in lab.nodes]
    return rows + [_service(lab, sid) for sid in sorted(lab.ha.resources)]


def _lrm(call: Call, name: str) -> dict[str, Any]:
    lab = call.lab
    state = "active" if lab.quorate() else "lost agent lock"
    word = _age_word(call, name, state if _has_services(lab, name) else "idle")
    watchdog = (
        {"active": ", watchdog active", "idle": ", watchdog standby"}.get(word, "")
        if lab.release.newer
        else ""
    )
    text = f"{name} ({word}{watchdog}, {_stamp(lab, name)})"
    return {
        "id": f"lrm:{name}",
        "type": "lrm",
        "node": name,
        "timestamp": _last_stamp(lab, name),
        "status": text,
    }


def _age_word(call: Call, name: str, word: str) -> str:
    """A time stamp from the future means drift: seen only when the other clock is ahead of the
    answering node's.

    A dead node's last stamp grows old, in the cluster's seconds; while its clock was ahead it still
    reads as drift.
    """
    lab, node = call.lab, call.lab.nodes[name]
    if not node.online and node.died is None:
        return "old timestamp - dead?"
    silent = 0.0 if node.died is None else lab.clock.seconds() - node.died
    age = silent + lab.now(call.local) - lab.now(name)
    if age < -_DRIFT_TOLERATED:
        return "detected time drift!"
    return "old timestamp - dead?" if age > _FRESH else word


def _last_stamp(lab: Lab, name: str) -> int:
    """Return the time that a node wrote last: now by its own clock, or the moment of its death."""
    seen = lab.nodes[name].last_seen
    return lab.now(name) if seen is None else seen


def _has_services(lab: Lab, name: str) -> bool:
    return any((vm := lab.guests.get(_vmid(sid))) and vm.node == name for sid in lab.ha.resources)


def _stamp(lab: Lab, name: str) -> str:
    """Return a node's time as it writes it itself: its clock, the cluster's zone."""
    return datetime.fromtimestamp(_last_stamp(lab, name), ZoneInfo(lab.tz)).strftime(
        "%a %b %e %H:%M:%S %Y"
    )


def _service(lab: Lab, sid: str) -> dict[str, Any]:
    resource, vm = lab.ha.resources[sid], lab.guests.get(_vmid(sid))
    wanted = lab.ha.wanted(sid)
    state = (figures.ha_state(lab, vm) if vm else None) or wanted
    node = vm.node if vm else ""
    row = {
        "id": f"service:{sid}",
        "type": "service",
        "sid": sid,
        "node": node,
        "state": state,
        "request_state": wanted,
    }
    if lab.ha.master:
        row["crm_state"] = lab.ha.services[sid].state if sid in lab.ha.services else state
    shown = {key: value for key, value in resource.items() if key in (*_DEFAULTS, "comment")}
    return {**row, **_DEFAULTS, **shown, "status": f"{sid} ({node}, {state})"}


@route("GET", "/cluster/ha/status/manager_status")
def manager_status(call: Call) -> Any:
    """Return the state of the cluster's resource manager and of the nodes'."""
    lab = call.lab
    quorum = {"node": call.local, "quorate": str(int(lab.quorate()))}
    # without a manager there is the quorum's entry alone (pve-facts 9.4)
    if not lab.ha.master:
        return {"manager_status": {"node_status": {}}, "quorum": quorum}
    # one that it is to leave alone it lets go of in its next round
    services = {
        sid: _service(lab, sid)
        for sid in lab.ha.resources
        if lab.ha.wanted(sid) != "ignored" or sid in lab.ha.services
    }
    return {
        "manager_status": {
            "master_node": lab.ha.master,
            "timestamp": _last_stamp(lab, lab.ha.master),
            "node_status": {name: lab.ha.node_status.get(name, "online") for name in lab.nodes},
            "service_status": {
                sid: {
                    "state": row["crm_state"],
                    "node": row["node"],
                    "uid": hashlib.sha1(sid.encode()).hexdigest()[:22],
                }
                for sid, row in services.items()
            },
        },
        "quorum": quorum,
        "lrm_status": {
            name: {
                "mode": "active",
                "state": "active" if _has_services(lab, name) else "wait_for_agent_lock",
                "results": {},
            }
            | {"timestamp": _last_stamp(lab, name)}
            for name in lab.nodes
        },
    }


def _vmid(sid: str) -> int:
    return int(sid.rpartition(":")[2])


def _sid(call: Call) -> str:
    """A bare VMID stands for the service of the guest that has it, a VM's where none does."""
    sid = str(call.params["sid"])
    vm = None if ":" in sid else call.lab.guests.get(int(sid))
    return sid if ":" in sid else f"{vm.word.lower() if vm else 'vm'}:{sid}"


def _digest(entries: dict[str, Any]) -> str:
    return hashlib.sha1(
        json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False
    ).hexdigest()


def _shown(lab: Lab, sid: str) -> dict[str, Any]:
    """Defaults are left out (pve-facts 9.4)."""
    return {
        "sid": sid,
        "type": sid.partition(":")[0],
        "digest": _digest(lab.ha.resources),
        **lab.ha.resources[sid],
    }


@route("GET", "/cluster/ha/resources")
def ha_resources(call: Call) -> Any:
    """List the managed guests."""
    rows = [_shown(call.lab, sid) for sid in sorted(call.lab.ha.resources)]
    return [row for row in rows if call.params.get("type") in (None, row["type"])]


@route("GET", "/cluster/ha/resources/{sid}")
def ha_resource(call: Call) -> Any:
    """Return one managed guest."""
    if _sid(call) not in call.lab.ha.resources:
        raise LabError(500, f"no such resource '{_sid(call)}'")
    return _shown(call.lab, _sid(call))


@route("POST", "/cluster/ha/resources")
def create_ha_resource(call: Call) -> Any:
    """Put a guest under HA."""
    sid, lab = _sid(call), call.lab
    # on PVE 9 groups became rules (pve-facts 9.4)
    if "group" in call.params:
        raise LabError(500, f"invalid parameter 'group': {_MIGRATED}")
    vm = lab.guests.get(_vmid(sid))
    if vm is None or not sid.startswith(vm.word.lower()):
        raise LabError(500, f"resource '{sid}' does not exist in cluster")
    if sid in lab.ha.resources:
        raise LabError(500, f"create resource failed: resource ID '{sid}' already defined")
    lab.ha.resources[sid] = {
        key: value for key, value in call.params.items() if key not in ("sid", "type")
    }
    lab.ha.resources[sid].setdefault("state", "started")
    # no node is master before there is anything to manage
    lab.ha.master = lab.ha.master or call.local
    lab.ha.save()


@route("PUT", "/cluster/ha/resources/{sid}")
def update_ha_resource(call: Call) -> Any:
    """Change a managed guest's settings."""
    sid, lab, params = _sid(call), call.lab, dict(call.params)
    if sid not in lab.ha.resources:
        raise LabError(500, f"update resources config failed: no such resource '{sid}'")
    if "group" in params:
        raise LabError(500, f"invalid parameter 'group': {_MIGRATED}")
    if params.pop("digest", None) not in (None, _digest(lab.ha.resources)):
        text = "detected modified configuration - file changed by other user? Try again."
        raise LabError(500, f"update resources config failed: {text}")
    if params.get("state") not in (None, "disabled"):
        _check_no_error(lab, sid)
    for key in split_list(params.pop("delete", "")):
        lab.ha.resources[sid].pop(key, None)
    lab.ha.resources[sid] |= {key: value for key, value in params.items() if key != "sid"}
    lab.ha.save()


@route("DELETE", "/cluster/ha/resources/{sid}")
def delete_ha_resource(call: Call) -> Any:
    """Take a guest out of HA."""
    if call.lab.ha.resources.pop(_sid(call), None) is None:
        raise LabError(500, f"cannot delete service '{_sid(call)}', not HA managed!")
    call.lab.ha.save()


@route("POST", "/cluster/ha/resources/{sid}/migrate")
def migrate_ha_resource(call: Call) -> Any:
    """Ask for a move that keeps the guest running (in PVE; the lab restarts it). Queued as it is:
    the target is not looked at.
    """
    return _queue_move(call, "migrate")


@route("POST", "/cluster/ha/resources/{sid}/relocate")
def relocate_ha_resource(call: Call) -> Any:
    """Ask for a move with a stop and a start."""
    return _queue_move(call, "relocate")


def _queue_move(call: Call, kind: str) -> dict[str, str]:
    """Note what is asked for; the manager's next round takes it up, or drops it (recorded 11_ha
    35-37).
    """
    sid, lab, target = _sid(call), call.lab, str(call.params["node"])
    if sid not in lab.ha.resources:
        raise LabError(500, f"resource '{sid}' is not HA managed")
    _check_no_error(lab, sid)
    if service := lab.ha.services.get(sid):
        service.command = (kind, target)
    return {"sid": sid, "requested-node": target}


def _check_no_error(lab: Lab, sid: str) -> None:
    service = lab.ha.services.get(sid)
    if service and service.state == "error":
        raise LabError(500, f"service '{sid}' in error state, must be disabled and fixed first")


@route("GET", "/cluster/ha/groups")
def ha_groups(call: Call) -> Any:
    """Refuse: PVE 9 has rules."""
    raise LabError(500, f"cannot index groups: {_MIGRATED}")


@route("GET", "/cluster/ha/groups/{group}")
def ha_group(call: Call) -> Any:
    """Refuse: PVE 9 has rules."""
    raise LabError(500, f"cannot read group: {_MIGRATED}")


@route("POST", "/cluster/ha/groups")
def create_ha_group(call: Call) -> Any:
    """Refuse: PVE 9 has rules."""
    raise LabError(500, f"cannot create group: {_MIGRATED}")


@route("PUT", "/cluster/ha/groups/{group}")
def update_ha_group(call: Call) -> Any:
    """Refuse: PVE 9 has rules."""
    raise LabError(500, f"cannot update group: {_MIGRATED}")


@route("DELETE", "/cluster/ha/groups/{group}")
def delete_ha_group(call: Call) -> Any:
    """Refuse: PVE 9 has rules."""
    raise LabError(500, f"cannot delete group: {_MIGRATED}")


@route("GET", "/cluster/ha/rules")
def ha_rules(call: Call) -> Any:
    """List the rules, of one type or for one resource."""
    rows = [_rule(call.lab, name) for name in call.lab.ha.rules]
    kind, resource = call.params.get("type"), call.params.get("resource")
    return [
        r
        for r in rows
        if kind in (None, r["type"])
        and (resource is None or resource in split_list(r["resources"]))
    ]


@route("GET", "/cluster/ha/rules/{rule}")
def ha_rule(call: Call) -> Any:
    """Return one rule."""
    if call.params["rule"] not in call.lab.ha.rules:
        raise LabError(500, f"no such ha rule '{call.params['rule']}'")
    return _rule(call.lab, call.params["rule"])


def _rule(lab: Lab, name: str) -> dict[str, Any]:
    order = list(lab.ha.rules).index(name) + 1
    return {"rule": name, "order": order, "digest": _digest(lab.ha.rules), **lab.ha.rules[name]}


@route("POST", "/cluster/ha/rules")
def create_ha_rule(call: Call) -> Any:
    """Create an affinity rule."""
    params = {key: value for key, value in call.params.items() if key != "rule"}
    for needed in (
        "resources",
        {"node-affinity": "nodes", "resource-affinity": "affinity"}[params["type"]],
    ):
        if needed not in params:
            raise LabError(500, f"missing value for required option '{needed}'")
    unmanaged = [sid for sid in split_list(params["resources"]) if sid not in call.lab.ha.resources]
    if unmanaged:
        raise LabError(
            500, f"create ha rule failed: cannot use unmanaged resource(s) {', '.join(unmanaged)}."
        )
    if params["type"] == "resource-affinity" and len(split_list(params["resources"])) < 2:
        detail = "resources: rule is ineffective as there are less than two resources"
        raise LabError(
            500, f"create ha rule failed: 400 Rule '{call.params['rule']}' is invalid.\n{detail}\n"
        )
    call.lab.ha.rules[call.params["rule"]] = params
    call.lab.ha.save()


@route("PUT", "/cluster/ha/rules/{rule}")
def update_ha_rule(call: Call) -> Any:
    """Change a rule."""
    name, params = call.params["rule"], dict(call.params)
    if name not in call.lab.ha.rules:
        raise LabError(500, f"no such ha rule '{name}'")
    for key in split_list(params.pop("delete", "")):
        call.lab.ha.rules[name].pop(key, None)
    call.lab.ha.rules[name] |= {
        key: value for key, value in params.items() if key not in ("rule", "digest")
    }
    call.lab.ha.save()


@route("DELETE", "/cluster/ha/rules/{rule}")
def delete_ha_rule(call: Call) -> Any:
    """Delete a rule; one that is not there is no error."""
    call.lab.ha.rules.pop(call.params["rule"], None)
    call.lab.ha.save()
