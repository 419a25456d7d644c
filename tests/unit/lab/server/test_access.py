"""Who may do what: tickets, CSRF tokens, tokens with privilege separation, inheritance of rights."""

from __future__ import annotations

import time

import pytest

from backupsvc.lab import authentication, seed
from backupsvc.lab.access import Identity
from backupsvc.lab.errors import LabError
from backupsvc.lab.kernel import Lab

from .conftest import Client


def _login(lab: Lab, nobody: Client) -> dict[str, str]:
    answer = nobody.data("POST", "/access/ticket", {"username": "root@pam", "password": seed.root_password(lab)})
    return {"cookie": f"PVEAuthCookie={answer['ticket']}", "csrf": answer["CSRFPreventionToken"]}


def test_a_ticket_reads_at_once_and_writes_with_its_csrf_token(lab: Lab, nobody: Client) -> None:
    login = _login(lab, nobody)
    assert nobody.ask("GET", "/version", cookie=login["cookie"]).status == 200
    refused = nobody.ask("POST", "/access/roles", {"roleid": "R1"}, cookie=login["cookie"])
    assert (refused.status, refused.reason, refused.body) == (401, "Permission denied - invalid csrf token", b"")
    accepted = nobody.ask("POST", "/access/roles", {"roleid": "R1"}, cookie=login["cookie"], csrfpreventiontoken=login["csrf"])
    assert accepted.status == 200


def test_a_ticket_renews_itself_in_place_of_the_password(lab: Lab, nobody: Client) -> None:
    ticket = nobody.data("POST", "/access/ticket", {"username": "root@pam", "password": seed.root_password(lab)})["ticket"]
    assert (
        nobody.data("POST", "/access/ticket", {"username": "root", "realm": "pam", "password": ticket})["username"] == "root@pam"
    )


def test_an_old_ticket_is_refused(lab: Lab) -> None:
    old = authentication.make_ticket(lab.access, "root@pam", time.time() - authentication.TICKET_LIFE - 1)
    with pytest.raises(LabError, match="invalid PVE ticket"):
        authentication.check_ticket(lab.access, old)


def test_a_failed_login_waits_for_the_delay_and_is_the_only_401_with_a_body(lab: Lab, nobody: Client) -> None:
    lab.settings["auth_delay"] = 3.0
    login = nobody.ask("POST", "/access/ticket", {"username": "root@pam", "password": "wrong"})
    bare = nobody.ask("GET", "/version")
    assert (login.status, login.delay, login.body) == (401, 3.0, b'{"data":null,"message":"authentication failure\\n"}')
    assert (bare.status, bare.delay, bare.body) == (401, 3.0, b"")


def test_a_disabled_user_and_an_expired_token_are_refused(lab: Lab, service: Client) -> None:
    lab.access.tokens[seed.SERVICE_TOKEN]["expire"] = 1
    assert service.ask("GET", "/version").status == 401
    lab.access.tokens[seed.SERVICE_TOKEN]["expire"] = 0
    lab.access.users["backupsvc@pve"]["enable"] = 0
    assert service.ask("GET", "/version").reason == "user 'backupsvc@pve' is disabled"


def test_a_separated_token_has_only_what_its_user_has_too(lab: Lab) -> None:
    token = Identity("backupsvc@pve", "service")
    lab.access.acl.append({"path": "/storage/extra", "type": "token", "ugid": token.name, "roleid": "PVEAdmin", "propagate": 1})
    assert "Datastore.Allocate" not in lab.access.privileges(token, "/storage/extra")
    lab.access.acl.append(
        {"path": "/storage/extra", "type": "user", "ugid": token.user, "roleid": "PVEDatastoreAdmin", "propagate": 1}
    )
    held = lab.access.privileges(token, "/storage/extra")
    assert "Datastore.Allocate" in held
    assert "VM.Audit" not in held


def test_a_deeper_entry_replaces_what_is_inherited(lab: Lab) -> None:
    service = Identity("backupsvc@pve", "service")
    assert lab.access.privileges(service, "/nodes/clovis") == {"Sys.Audit"}
    assert "Sys.Audit" not in lab.access.privileges(service, "/vms/108")
    assert lab.access.privileges(service, "/vms/108") == frozenset(seed.VM_PRIVILEGES)


def test_an_entry_that_does_not_propagate_holds_on_its_own_path_only(lab: Lab) -> None:
    user = Identity("eve@pve")
    lab.access.acl.append({"path": "/vms", "type": "user", "ugid": "eve@pve", "roleid": "PVEAuditor", "propagate": 0})
    assert "VM.Audit" in lab.access.privileges(user, "/vms")
    assert lab.access.privileges(user, "/vms/108") == frozenset()
    assert lab.access.propagates(user, "/vms")["VM.Audit"] == 0


def test_the_everyday_token_may_use_the_isolated_bridge_and_no_production_bridge(lab: Lab, service: Client) -> None:
    restore = Client(lab, seed.RESTORE_TOKEN)
    zone = "/sdn/zones/localnetwork"
    assert f"{zone}/vmbr9" in service.get("/access/permissions")
    assert f"{zone}/vmbr0" not in service.get("/access/permissions")
    assert {f"{zone}/vmbr0", f"{zone}/vmbr9"} <= set(restore.get("/access/permissions"))
    assert [row["iface"] for row in service.get("/nodes/clovis/network?type=any_bridge")] == ["vmbr9"]


def test_roles_users_tokens_and_rights_are_made_and_used_through_the_api(lab: Lab, client: Client) -> None:
    client.data("POST", "/access/roles", {"roleid": "Looker", "privs": "VM.Audit,Sys.Audit"})
    client.data("POST", "/access/users", {"userid": "eve@pve"})
    made = client.data("POST", "/access/users/eve@pve/token/t1", {"privsep": "1"})
    assert made["full-tokenid"] == "eve@pve!t1"
    for who in ({"users": "eve@pve"}, {"tokens": "eve@pve!t1"}):
        client.data("PUT", "/access/acl", {"path": "/vms/108", "roles": "Looker", **who})
    eve = Client(lab, "")
    seen = eve.ask("GET", "/cluster/resources?type=vm", authorization=f"PVEAPIToken=eve@pve!t1={made['value']}")
    assert b"qemu/108" in seen.body
    assert b"qemu/101" not in seen.body
    client.data("PUT", "/access/acl", {"path": "/vms/108", "roles": "Looker", "tokens": "eve@pve!t1", "delete": "1"})
    assert (
        eve.ask("GET", "/cluster/resources?type=vm", authorization=f"PVEAPIToken=eve@pve!t1={made['value']}").body
        == b'{"data":[]}'
    )


def test_without_sys_audit_a_node_shows_no_figures(lab: Lab, service: Client) -> None:
    lab.access.acl[:] = [entry for entry in lab.access.acl if entry["path"] != "/"]
    assert all("maxmem" not in row for row in service.get("/nodes"))
    assert service.ask("GET", "/cluster/status").reason == "Permission check failed (/, Sys.Audit)"
