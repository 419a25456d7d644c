"""Every endpoint that the lab serves, and every one that the service asks for, against PVE's own
schema.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from pvelab import authentication, seed
from pvelab.errors import LabError
from pvelab.guests import power
from pvelab.images.site import guest
from pvelab.kernel import ROUTES, Lab
from pvelab.schema.endpoints import api
from pvelab.schema.validate import validate
from tests.unit.pvelab.conformance import endpoints
from tests.unit.pvelab.conformance.endpoints import SERVED
from tests.unit.pvelab.server.conftest import Client, client, lab

__all__ = ["client", "lab"]
_UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
_MISSING = "property is missing and it is not optional"
# parameters whose schema does not tell what a valid value is: property strings written out in
# place, and patterns
_UNTOLD = 0.30
# what is in the lab
_THERE = {
    "userid": "backupsvc@pve",
    "tokenid": "service",
    "roleid": "PVEAdmin",
    "sid": "vm:108",
    "id": "backup-langeo",
    "rule": "some-rule",
    "group": "some-group",
}
# what is refused in the lab as it stands: status and reason
_REFUSED = {
    "/cluster/backup-info": (403, "root@pam with a ticket only"),
    "/cluster/ha/groups": (500, "rules have replaced them, and PVE says so"),
    "/cluster/ha/groups/{group}": (500, "rules have replaced them, and PVE says so"),
    "/cluster/ha/rules/{rule}": (500, "there is none"),
    "/nodes/{node}/vzdump/extractconfig": (500, "there is no archive"),
    "/nodes/{node}/storage/{storage}/content/{volume}": (500, "there is no archive"),
    "/nodes/{node}/tasks/{upid}/status": (400, "there is no such task"),
    "/nodes/{node}/qemu/{vmid}/agent/exec-status": (500, "no program was started"),
    "/nodes/{node}/qemu/{vmid}/agent/file-read": (500, "the guest has no such file"),
    "/nodes/{node}/lxc/{vmid}/status/current": (500, "the guest is no container"),
    "/nodes/{node}/lxc/{vmid}/config": (500, "the guest is no container"),
    "/nodes/{node}/lxc/{vmid}/interfaces": (500, "the guest is no container"),
}
# what a call that changes something needs besides what its schema demands, or instead of it; names
# of the path among it
_CHANGES: dict[str, dict[str, str]] = {
    "PUT /access/roles/{roleid}": {"roleid": "BackupsvcVms"},
    "PUT /access/acl": {"path": "/vms/104", "roles": "PVEAdmin", "users": "backupsvc@pve"},
    "POST /access/users/{userid}/token/{tokenid}": {"tokenid": "another"},
    "POST /cluster/backup": {"schedule": "21:00", "all": "1"},
    "PUT /cluster/backup/{id}": {"comment": "x"},
    "POST /cluster/ha/rules": {
        "rule": "some-rule",
        "type": "node-affinity",
        "resources": "vm:108",
        "nodes": "clovis",
    },
    "POST /nodes/{node}/vzdump": {"vmid": "104"},
    "POST /nodes/{node}/qemu": {"vmid": "9000"},
    "DELETE /nodes/{node}/qemu/{vmid}": {"vmid": "105"},
    "PUT /nodes/{node}/qemu/{vmid}/config": {"tags": "a"},
    "POST /nodes/{node}/qemu/{vmid}/config": {"tags": "a"},
    "POST /nodes/{node}/qemu/{vmid}/agent/file-write": {"file": "/tmp/x"},
    "POST /nodes/{node}/qemu/{vmid}/monitor": {"command": "info status"},
}
# what of it is refused in the lab as it stands
_REFUSED_CHANGES = {
    "PUT /cluster/ha/rules/{rule}": (400, "there is none"),
    "DELETE /nodes/{node}/tasks/{upid}": (400, "there is no such task"),
    "POST /nodes/{node}/lxc": (500, "there is no archive"),
    "DELETE /nodes/{node}/lxc/{vmid}": (500, "the guest is no container"),
    "PUT /nodes/{node}/lxc/{vmid}/config": (500, "the guest is no container"),
    **{
        f"POST /nodes/{{node}}/lxc/{{vmid}}/status/{call}": (500, "no container")
        for call in ("start", "stop", "shutdown")
    },
}
# where a real server was seen to answer otherwise than its schema says
_SEEN = {"/nodes/{node}/vzdump/defaults": "fleecing and performance are objects (03_vzdump_ok 84)"}
_READ = [endpoint for endpoint in SERVED if endpoint["method"] == "GET"]
_WRITE = [endpoint for endpoint in SERVED if endpoint["method"] != "GET"]


def _name(endpoint: dict[str, Any]) -> str:
    return f"{endpoint['method']} {endpoint['path']}"


def _ask(
    client: Client, endpoint: dict[str, Any], given: dict[str, Any]
) -> tuple[int, dict[str, str]]:
    """Ask as root would with a ticket: what no token may do is checked before parameters are."""
    ticket, csrf = (
        make(client.lab.access, "root@pam")
        for make in (authentication.make_ticket, authentication.make_csrf)
    )
    where, sent = (
        endpoints.path(endpoint),
        {n: v for n, v in given.items() if n not in endpoints.in_path(endpoint)},
    )
    headers = {"cookie": f"PVEAuthCookie={ticket}", "csrfpreventiontoken": csrf}
    if endpoint["method"] in ("GET", "DELETE"):
        reply = client.ask(endpoint["method"], f"{where}?{urlencode(sent, doseq=True)}", **headers)
    else:
        reply = client.ask(endpoint["method"], where, sent, **headers)
    return reply.status, json.loads(reply.body or b"{}").get("errors", {})


# the lab tells of replication node by node alone: whoever asks for the list takes it as not read
NOT_SERVED = {("GET", "/cluster/replication")}


def test_the_lab_serves_whatever_the_service_asks_for() -> None:
    calls = sorted(set(endpoints.client_calls()))
    assert len(calls) > 25, "the calls are no longer found in the source"
    served = {(e.method, e.path) for e in api().endpoints} & ROUTES.keys()
    assert set(calls) >= NOT_SERVED, "nobody asks for that any more"
    for method, path in calls:
        found = api().find(method, path)
        if (method, path) in NOT_SERVED:
            assert found is None, "the lab serves it by now"
            continue
        assert found and (found[0].method, found[0].path) in served, (method, path)


def test_every_handler_of_the_lab_can_be_reached() -> None:
    assert ROUTES.keys() - {(e.method, e.path) for e in api().endpoints} == set()


@pytest.mark.parametrize("endpoint", SERVED, ids=_name)
def test_a_parameter_that_does_not_exist_is_refused(
    client: Client, endpoint: dict[str, Any]
) -> None:
    status, errors = _ask(client, endpoint, {**endpoints.required(endpoint), "nosuch": "1"})
    assert (status, errors.get("nosuch")) == (400, _UNKNOWN)


@pytest.mark.parametrize(
    "endpoint",
    [e for e in SERVED if endpoints.required(e).keys() - endpoints.in_path(e)],
    ids=_name,
)
def test_a_parameter_that_is_needed_is_missed(client: Client, endpoint: dict[str, Any]) -> None:
    wanted = endpoints.required(endpoint).keys() - endpoints.in_path(endpoint)
    status, errors = _ask(client, endpoint, {})
    assert (status, {name: errors.get(name) for name in wanted}) == (
        400,
        dict.fromkeys(wanted, _MISSING),
    )


@pytest.mark.parametrize("endpoint", SERVED, ids=_name)
def test_wrong_types_and_words_are_refused_in_pves_texts(
    client: Client, endpoint: dict[str, Any]
) -> None:
    wrong, wanted = {}, {}
    for name, schema in endpoint["parameters"].items():
        if name in endpoints.in_path(endpoint) or "[n]" in name:
            continue
        if schema.get("type") in ("integer", "boolean", "number"):
            wrong[name], wanted[name] = (
                "many",
                f"type check ('{schema['type']}') failed - got 'many'",
            )
        elif "enum" in schema and "format" not in schema:
            listed = ", ".join(str(choice) for choice in schema["enum"])
            wrong[name], wanted[name] = (
                "many",
                f"value 'many' does not have a value in the enumeration '{listed}'",
            )
    if not wrong:
        assert endpoint["parameters"].keys() <= endpoints.in_path(endpoint) | _texts(endpoint)
        return
    status, errors = _ask(client, endpoint, {**endpoints.required(endpoint), **wrong})
    assert (status, {name: errors.get(name) for name in wanted}) == (400, wanted)


def _texts(endpoint: dict[str, Any]) -> set[str]:
    """Parameters that any text may be, as far as type and enumeration go."""
    return {
        name
        for name, schema in endpoint["parameters"].items()
        if schema.get("type", "string") in ("string", "array")
    }


@pytest.mark.parametrize("endpoint", SERVED, ids=_name)
def test_every_declared_parameter_is_accepted_in_a_valid_form(endpoint: dict[str, Any]) -> None:
    found = api().find(endpoint["method"], endpoints.path(endpoint))
    assert found
    for name, schema in endpoint["parameters"].items():
        value = endpoints.valid(name, schema)
        if value is None:
            continue
        needed = schema.get("requires")
        given = {
            part: endpoints.valid(part, {}) for part in endpoints.in_path(endpoint)
        } | endpoints.required(endpoint)
        given[name.replace("[n]", "0")] = value
        if needed in endpoint["parameters"]:
            given[needed] = endpoints.valid(needed, endpoint["parameters"][needed])
        try:
            validate(found[0].parameters, given)
        except LabError as error:
            pytest.fail(f"{name}={value!r} is refused: {error.errors}")


def test_the_walk_covers_what_the_lab_serves() -> None:
    assert len(SERVED) > 110


def test_the_schema_tells_a_valid_value_of_most_parameters() -> None:
    every = [(name, schema) for e in SERVED for name, schema in e["parameters"].items()]
    untold = [name for name, schema in every if endpoints.valid(name, schema) is None]
    print(
        f"\n{len(SERVED)} endpoints, {len(every)} parameters, {len(untold)} without a value from "
        "the schema"
    )
    assert len(untold) <= _UNTOLD * len(every), sorted(set(untold))


@pytest.mark.parametrize("endpoint", _READ, ids=_name)
def test_an_answer_has_the_type_and_the_fields_that_pve_promises(
    client: Client, lab: Lab, endpoint: dict[str, Any]
) -> None:
    _start(lab)
    needed = {
        name: value
        for name, value in endpoints.required(endpoint).items()
        if name not in endpoints.in_path(endpoint)
    }
    reply = client.ask("GET", f"{endpoints.path(endpoint, **_THERE)}?{urlencode(needed)}")
    if endpoint["path"] in _REFUSED:
        assert reply.status == _REFUSED[endpoint["path"]][0]
        return
    assert reply.status == 200, reply
    unfit = list(endpoints.misfit(endpoint.get("returns") or {}, json.loads(reply.body)["data"]))
    assert bool(unfit) == (endpoint["path"] in _SEEN), unfit


@pytest.mark.parametrize("endpoint", _WRITE, ids=_name)
def test_a_change_is_answered_with_what_pve_promises(
    client: Client, lab: Lab, endpoint: dict[str, Any]
) -> None:
    _start(lab)
    (lab.etc / "pve-root-ca.pem").write_text("a certificate")
    there = {name: value for name, value in _THERE.items() if name in endpoints.in_path(endpoint)}
    given = {**endpoints.required(endpoint), **there, **_CHANGES.get(_name(endpoint), {})}
    if endpoint["path"] == "/access/ticket":
        given |= {"username": "root@pam", "password": seed.root_password(lab)}
    names = endpoints.required(endpoint).keys() | _CHANGES.get(_name(endpoint), {}).keys()
    sent = {name: given[name] for name in names - endpoints.in_path(endpoint)}
    where = endpoints.path(
        endpoint, **{name: given[name] for name in endpoints.in_path(endpoint) if name in given}
    )
    status, data = _change(client, endpoint["method"], where, sent)
    if _name(endpoint) in _REFUSED_CHANGES:
        assert status == _REFUSED_CHANGES[_name(endpoint)][0]
        return
    assert status == 200, data
    returns = endpoint.get("returns") or {}
    assert not list(endpoints.misfit(returns, data))
    assert data is None or returns.get("type") != "null"


def _start(lab: Lab) -> None:
    """Switch guest 104 on."""
    for key in guest(104).disks:
        seed.disk_path(lab, guest(104), key).write_bytes(bytes(4096))
    power.start_machine(lab, lab.guests.need("clovis", 104))


def _change(client: Client, method: str, where: str, sent: dict[str, Any]) -> tuple[int, Any]:
    """Change something as root with a ticket; return status and data, of a refusal the whole
    body.
    """
    ticket, csrf = (
        make(client.lab.access, "root@pam")
        for make in (authentication.make_ticket, authentication.make_csrf)
    )
    headers = {"cookie": f"PVEAuthCookie={ticket}", "csrfpreventiontoken": csrf}
    query = f"?{urlencode(sent, doseq=True)}" if method == "DELETE" else ""
    reply = client.ask(method, where + query, None if method == "DELETE" else sent, **headers)
    body = json.loads(reply.body)
    return reply.status, body["data"] if reply.status == 200 else body
