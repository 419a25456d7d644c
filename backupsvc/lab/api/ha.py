"""/cluster/ha: status, resources, rules (pve-ha-manager PVE/API2/HA/*.pm, OBSERVED 30, PVE_FACTS 8)."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from backupsvc.lab.api import figures
from backupsvc.lab.api.formats import split_list
from backupsvc.lab.kernel import Call, Lab, LabError, route

_MIGRATED = "ha groups have been migrated to rules"
_DRIFT_TOLERATED = 2  # seconds that another node's time stamp may lie in the future (PVE/API2/HA/Status.pm)
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
    """Return quorum, master, the nodes' resource managers and the services, as the answering node sees them."""
    lab, local = call.lab, _answering(call.lab)
    quorate = lab.quorate()
    quorum = {"id": "quorum", "type": "quorum", "node": local, "quorate": int(quorate)}
    rows: list[dict[str, Any]] = [{**quorum, "status": "OK" if quorate else f"No quorum on node '{local}'!"}]
    if not lab.ha.master:
        return rows + [_service(lab, sid) for sid in sorted(lab.ha.resources)]
    master = {"id": "master", "type": "master", "node": lab.ha.master, "timestamp": lab.now(lab.ha.master)}
    rows.append(
        {**master, "status": f"{lab.ha.master} ({_age_word(lab, lab.ha.master, 'active')}, {_stamp(lab, lab.ha.master)})"}
    )
    rows.append({"id": "fencing", "type": "fencing", "node": local, "status": "armed", "armed-state": "armed"})
    rows += [_lrm(lab, name) for name in lab.nodes]
    return rows + [_service(lab, sid) for sid in sorted(lab.ha.resources)]


def _answering(lab: Lab) -> str:
    return next((node.name for node in lab.nodes.values() if node.online), "")


def _lrm(lab: Lab, name: str) -> dict[str, Any]:
    word = _age_word(lab, name, "active" if _has_services(lab, name) else "idle")
    watchdog = ", watchdog active" if word == "active" else ", watchdog standby" if word == "idle" else ""
    text = f"{name} ({word}{watchdog}, {_stamp(lab, name)})"
    return {"id": f"lrm:{name}", "type": "lrm", "node": name, "timestamp": lab.now(name), "status": text}


def _age_word(lab: Lab, name: str, word: str) -> str:
    """A time stamp from the future means drift: seen only when the other clock is ahead of the answering node's."""
    if not lab.nodes[name].online:
        return "old timestamp - dead?"
    ahead = lab.now(name) - lab.now(_answering(lab))
    if ahead > _DRIFT_TOLERATED:
        return "detected time drift!"
    return "old timestamp - dead?" if ahead < -30 else word


def _has_services(lab: Lab, name: str) -> bool:
    return any((vm := lab.guests.get(_vmid(sid))) and vm.node == name for sid in lab.ha.resources)


def _stamp(lab: Lab, name: str) -> str:
    """Return a node's time as it writes it itself: its clock, the cluster's zone."""
    return datetime.fromtimestamp(lab.now(name), ZoneInfo(lab.tz)).strftime("%a %b %e %H:%M:%S %Y")


def _service(lab: Lab, sid: str) -> dict[str, Any]:
    resource, vm = lab.ha.resources[sid], lab.guests.get(_vmid(sid))
    wanted = {"enabled": "started"}.get(resource.get("state", "started"), resource.get("state", "started"))
    state = (figures.ha_state(lab, vm) if vm else None) or wanted
    node = vm.node if vm else ""
    row = {"id": f"service:{sid}", "type": "service", "sid": sid, "node": node, "state": state, "request_state": wanted}
    if lab.ha.master:
        row["crm_state"] = state
    shown = {key: value for key, value in resource.items() if key in (*_DEFAULTS, "comment")}
    return {**row, **_DEFAULTS, **shown, "status": f"{sid} ({node}, {state})"}


@route("GET", "/cluster/ha/status/manager_status")
def manager_status(call: Call) -> Any:
    """Return the state of the cluster's resource manager and of the nodes'."""
    lab = call.lab
    quorum = {"node": _answering(lab), "quorate": str(int(lab.quorate()))}
    if not lab.ha.master:
        return {"manager_status": {"node_status": {}}, "quorum": quorum}
    services = {sid: _service(lab, sid) for sid in lab.ha.resources}
    return {
        "manager_status": {
            "master_node": lab.ha.master,
            "timestamp": lab.now(lab.ha.master),
            "node_status": {node.name: "online" if node.online else "unknown" for node in lab.nodes.values()},
            "service_status": {
                sid: {"state": row["state"], "node": row["node"], "uid": hashlib.sha1(sid.encode()).hexdigest()[:22]}
                for sid, row in services.items()
            },
        },
        "quorum": quorum,
        "lrm_status": {
            name: {"mode": "active", "state": "active" if _has_services(lab, name) else "wait_for_agent_lock", "results": {}}
            | {"timestamp": lab.now(name)}
            for name in lab.nodes
        },
    }


def _vmid(sid: str) -> int:
    return int(sid.rpartition(":")[2])


def _sid(call: Call) -> str:
    """A bare VMID stands for ``vm:<vmid>``."""
    sid = str(call.params["sid"])
    return sid if ":" in sid else f"vm:{sid}"


def _digest(entries: dict[str, Any]) -> str:
    return hashlib.sha1(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def _shown(lab: Lab, sid: str) -> dict[str, Any]:
    """Defaults are left out (OBSERVED 30)."""
    return {"sid": sid, "type": sid.partition(":")[0], "digest": _digest(lab.ha.resources), **lab.ha.resources[sid]}


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
    if "group" in call.params:
        raise LabError(500, f"invalid parameter 'group': {_MIGRATED}")
    if lab.guests.get(_vmid(sid)) is None:
        raise LabError(500, f"resource '{sid}' does not exist in cluster")
    if sid in lab.ha.resources:
        raise LabError(500, f"create resource failed: resource ID '{sid}' already defined")
    lab.ha.resources[sid] = {key: value for key, value in call.params.items() if key not in ("sid", "type")}
    lab.ha.resources[sid].setdefault("state", "started")
    lab.ha.master = lab.ha.master or _answering(lab)
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
    return [r for r in rows if kind in (None, r["type"]) and (resource is None or resource in split_list(r["resources"]))]


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
    for needed in ("resources", {"node-affinity": "nodes", "resource-affinity": "affinity"}[params["type"]]):
        if needed not in params:
            raise LabError(500, f"missing value for required option '{needed}'")
    unmanaged = [sid for sid in split_list(params["resources"]) if sid not in call.lab.ha.resources]
    if unmanaged:
        raise LabError(500, f"create ha rule failed: cannot use unmanaged resource(s) {', '.join(unmanaged)}.")
    if params["type"] == "resource-affinity" and len(split_list(params["resources"])) < 2:
        detail = "resources: rule is ineffective as there are less than two resources"
        raise LabError(500, f"create ha rule failed: 400 Rule '{call.params['rule']}' is invalid.\n{detail}\n")
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
    call.lab.ha.rules[name] |= {key: value for key, value in params.items() if key not in ("rule", "digest")}
    call.lab.ha.save()


@route("DELETE", "/cluster/ha/rules/{rule}")
def delete_ha_rule(call: Call) -> Any:
    """Delete a rule; one that is not there is no error."""
    call.lab.ha.rules.pop(call.params["rule"], None)
    call.lab.ha.save()
