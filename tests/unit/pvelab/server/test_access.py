"""Who may do what: tickets, CSRF tokens, tokens with privilege separation, inheritance of
rights.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from policies import role
from policies.site import load_policy
from pvelab import authentication, seed
from pvelab.access import Identity
from pvelab.errors import LabError
from pvelab.kernel import Lab

from .conftest import Client


def _login(lab: Lab, nobody: Client) -> dict[str, str]:
    answer = nobody.data(
        "POST", "/access/ticket", {"username": "root@pam", "password": seed.root_password(lab)}
    )
    return {"cookie": f"PVEAuthCookie={answer['ticket']}", "csrf": answer["CSRFPreventionToken"]}


def test_a_ticket_reads_at_once_and_writes_with_its_csrf_token(lab: Lab, nobody: Client) -> None:
    login = _login(lab, nobody)
    assert nobody.ask("GET", "/version", cookie=login["cookie"]).status == 200
    refused = nobody.ask("POST", "/access/roles", {"roleid": "R1"}, cookie=login["cookie"])
    assert (refused.status, refused.reason, refused.body) == (
        401,
        "Permission denied - invalid csrf token",
        b"",
    )
    accepted = nobody.ask(
        "POST",
        "/access/roles",
        {"roleid": "R1"},
        cookie=login["cookie"],
        csrfpreventiontoken=login["csrf"],
    )
    assert accepted.status == 200


def test_a_ticket_renews_itself_in_place_of_the_password(lab: Lab, nobody: Client) -> None:
    ticket = nobody.data(
        "POST", "/access/ticket", {"username": "root@pam", "password": seed.root_password(lab)}
    )["ticket"]
    assert (
        nobody.data(
            "POST", "/access/ticket", {"username": "root", "realm": "pam", "password": ticket}
        )["username"]
        == "root@pam"
    )


def test_an_old_ticket_is_refused(lab: Lab) -> None:
    old = authentication.make_ticket(
        lab.access, "root@pam", time.time() - authentication.TICKET_LIFE - 1
    )
    with pytest.raises(LabError, match="invalid PVE ticket"):
        authentication.check_ticket(lab.access, old)


def test_a_failed_login_waits_for_the_delay_and_is_the_only_401_with_a_body(
    lab: Lab, nobody: Client
) -> None:
    lab.settings["auth_delay"] = 3.0
    login = nobody.ask("POST", "/access/ticket", {"username": "root@pam", "password": "wrong"})
    bare = nobody.ask("GET", "/version")
    assert (login.status, login.delay, login.body) == (
        401,
        3.0,
        b'{"data":null,"message":"authentication failure\\n"}',
    )
    assert (bare.status, bare.delay, bare.body) == (401, 3.0, b"")


def test_a_disabled_user_and_an_expired_token_are_refused(lab: Lab, service: Client) -> None:
    lab.access.tokens[seed.SERVICE_TOKEN]["expire"] = 1
    assert service.ask("GET", "/version").status == 401
    lab.access.tokens[seed.SERVICE_TOKEN]["expire"] = 0
    lab.access.users["backupsvc@pve"]["enable"] = 0
    assert service.ask("GET", "/version").reason == "user 'backupsvc@pve' is disabled"


def test_a_separated_token_has_only_what_its_user_has_too(lab: Lab) -> None:
    token = Identity("backupsvc@pve", "service")
    lab.access.acl.append(
        {
            "path": "/storage/extra",
            "type": "token",
            "ugid": token.name,
            "roleid": "PVEAdmin",
            "propagate": 1,
        }
    )
    assert "Datastore.Allocate" not in lab.access.privileges(token, "/storage/extra")
    lab.access.acl.append(
        {
            "path": "/storage/extra",
            "type": "user",
            "ugid": token.user,
            "roleid": "PVEDatastoreAdmin",
            "propagate": 1,
        }
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
    lab.access.acl.append(
        {"path": "/vms", "type": "user", "ugid": "eve@pve", "roleid": "PVEAuditor", "propagate": 0}
    )
    assert "VM.Audit" in lab.access.privileges(user, "/vms")
    assert lab.access.privileges(user, "/vms/108") == frozenset()
    assert lab.access.propagates(user, "/vms")["VM.Audit"] == 0


def test_the_everyday_token_may_use_the_isolated_bridge_and_no_production_bridge(
    lab: Lab, service: Client
) -> None:
    restore = Client(lab, seed.RESTORE_TOKEN)
    zone = "/sdn/zones/localnetwork"
    assert f"{zone}/vmbr9" in service.get("/access/permissions")
    assert f"{zone}/vmbr0" not in service.get("/access/permissions")
    assert {f"{zone}/vmbr0", f"{zone}/vmbr9"} <= set(restore.get("/access/permissions"))
    assert [row["iface"] for row in service.get("/nodes/clovis/network?type=any_bridge")] == [
        "vmbr9"
    ]


def test_the_tokens_of_the_lab_hold_what_doctor_asks_for(lab: Lab, service: Client) -> None:
    site = Path(__file__).parents[4] / "policies" / "sites" / "langeo.yaml"
    policy = load_policy(site.read_text(encoding="utf-8"), site.name)
    for client, needs in (
        (service, role.everyday(policy)),
        (Client(lab, seed.RESTORE_TOKEN), role.restoring(policy, bridges=[seed.PRODUCTION_BRIDGE])),
    ):
        held = {path: frozenset(privs) for path, privs in client.get("/access/permissions").items()}
        assert role.missing(needs, held) == ()


def test_roles_users_tokens_and_rights_are_made_and_used_through_the_api(
    lab: Lab, client: Client
) -> None:
    client.data("POST", "/access/roles", {"roleid": "Looker", "privs": "VM.Audit,Sys.Audit"})
    client.data("POST", "/access/users", {"userid": "eve@pve"})
    made = client.data("POST", "/access/users/eve@pve/token/t1", {"privsep": "1"})
    assert made["full-tokenid"] == "eve@pve!t1"
    for who in ({"users": "eve@pve"}, {"tokens": "eve@pve!t1"}):
        client.data("PUT", "/access/acl", {"path": "/vms/108", "roles": "Looker", **who})
    eve = Client(lab, "")
    seen = eve.ask(
        "GET", "/cluster/resources?type=vm", authorization=f"PVEAPIToken=eve@pve!t1={made['value']}"
    )
    assert b"qemu/108" in seen.body
    assert b"qemu/101" not in seen.body
    client.data(
        "PUT",
        "/access/acl",
        {"path": "/vms/108", "roles": "Looker", "tokens": "eve@pve!t1", "delete": "1"},
    )
    assert (
        eve.ask(
            "GET",
            "/cluster/resources?type=vm",
            authorization=f"PVEAPIToken=eve@pve!t1={made['value']}",
        ).body
        == b'{"data":[]}'
    )


def test_without_sys_audit_a_node_shows_no_figures(lab: Lab, service: Client) -> None:
    lab.access.acl[:] = [entry for entry in lab.access.acl if entry["path"] != "/"]
    assert all("maxmem" not in row for row in service.get("/nodes"))
    assert service.ask("GET", "/cluster/status").reason == "Permission check failed (/, Sys.Audit)"


def _grant(
    lab: Lab, path: str, role: str, ugid: str = "eve@pve", kind: str = "user", propagate: int = 1
) -> None:
    lab.access.acl.append(
        {"path": path, "type": kind, "ugid": ugid, "roleid": role, "propagate": propagate}
    )


def test_no_access_wins_over_every_role_beside_it_and_ends_below_where_another_role_is_given(
    lab: Lab,
) -> None:
    eve = Identity("eve@pve")
    for path, name in (("/vms", "PVEVMAdmin"), ("/vms/100", "NoAccess"), ("/vms/100", "PVEVMUser")):
        _grant(lab, path, name)
    assert lab.access.privileges(eve, "/vms/100") == frozenset()
    assert "VM.Allocate" in lab.access.privileges(eve, "/vms/101")


def test_a_users_own_entry_wins_over_that_of_his_group(lab: Lab, client: Client) -> None:
    client.data("POST", "/access/groups", {"groupid": "ops"})
    client.data("POST", "/access/users", {"userid": "eve@pve", "groups": "ops"})
    client.data("PUT", "/access/acl", {"path": "/vms", "roles": "PVEVMAdmin", "groups": "ops"})
    assert "VM.Allocate" in lab.access.privileges(Identity("eve@pve"), "/vms/100")
    client.data("PUT", "/access/acl", {"path": "/vms", "roles": "PVEAuditor", "users": "eve@pve"})
    assert "VM.Allocate" not in lab.access.privileges(Identity("eve@pve"), "/vms/100")
    assert client.get("/access/users/eve@pve")["groups"] == ["ops"]
    client.data("DELETE", "/access/groups/ops")
    assert not [entry for entry in lab.access.acl if entry["type"] == "group"]


def test_a_deleted_role_or_user_takes_its_rights_along(lab: Lab, client: Client) -> None:
    client.data("POST", "/access/roles", {"roleid": "Looker", "privs": "VM.Audit"})
    client.data("POST", "/access/users", {"userid": "eve@pve"})
    client.data("POST", "/access/users/eve@pve/token/t1", {})
    for who in ({"users": "eve@pve"}, {"tokens": "eve@pve!t1"}):
        client.data("PUT", "/access/acl", {"path": "/vms", "roles": "Looker,PVEAuditor", **who})
    client.data("DELETE", "/access/roles/Looker")
    assert {entry["roleid"] for entry in lab.access.acl if entry["ugid"].startswith("eve")} == {
        "PVEAuditor"
    }
    client.data("DELETE", "/access/users/eve@pve")
    assert not [entry for entry in lab.access.acl if entry["ugid"].startswith("eve")]
    assert "eve@pve!t1" not in lab.access.tokens
    assert (
        client.ask("DELETE", "/access/roles/PVEAdmin").reason
        == "auto-generated role 'PVEAdmin' cannot be deleted"
    )


def test_what_is_held_on_a_pool_holds_on_its_members_and_below_no_member(
    lab: Lab, client: Client
) -> None:
    eve = Identity("eve@pve")
    client.data("POST", "/pools", {"poolid": "web", "comment": "front"})
    client.data("PUT", "/pools", {"poolid": "web", "vms": "100,101", "storage": "local"})
    _grant(lab, "/pool/web", "PVEAdmin")
    assert "VM.Allocate" in lab.access.privileges(eve, "/vms/100")
    assert "Datastore.Audit" in lab.access.privileges(eve, "/storage/local")
    assert lab.access.privileges(eve, "/vms/102") == frozenset()
    assert lab.access.propagates(eve, "/vms/100")["VM.Allocate"] == 0
    assert client.get("/access/permissions?userid=eve@pve")["/vms/100"]["VM.Allocate"] == 0
    _grant(lab, "/pool/web", "NoAccess")
    _grant(lab, "/vms/100", "PVEVMAdmin")
    assert lab.access.privileges(eve, "/vms/100") == frozenset()


def test_a_pool_lists_its_members_and_is_deleted_only_when_empty(
    lab: Lab, client: Client, service: Client
) -> None:
    client.data("POST", "/pools", {"poolid": "web"})
    assert (
        client.ask("POST", "/pools", {"poolid": "web"}).reason
        == "create pool failed: pool 'web' already exists"
    )
    client.data("PUT", "/pools/web", {"vms": "100"})
    assert client.ask("PUT", "/pools", {"poolid": "web", "vms": "100"}).reason.endswith(
        "VM 100 is already a pool member"
    )
    assert [row["vmid"] for row in client.get("/pools/web")["members"]] == [100]
    assert (
        next(row for row in client.get("/cluster/resources?type=vm") if row["vmid"] == 100)["pool"]
        == "web"
    )
    assert (
        client.ask("DELETE", "/pools/web").reason
        == "delete pool failed: pool 'web' is not empty (contains VM 100)"
    )
    assert service.get("/pools") == []
    assert (
        service.ask("GET", "/pools/web").reason == "Permission check failed (/pool/web, Pool.Audit)"
    )
    client.data("PUT", "/pools", {"poolid": "web", "vms": "100", "delete": "1"})
    client.data("DELETE", "/pools?poolid=web")
    assert client.get("/pools") == []


def test_a_destroyed_guest_loses_its_own_rights_and_its_pool(lab: Lab, client: Client) -> None:
    client.data("POST", "/pools", {"poolid": "web"})
    client.data("PUT", "/pools", {"poolid": "web", "vms": "104"})
    _grant(lab, "/vms/104", "PVEVMAdmin")
    upid = client.data("DELETE", "/nodes/clovis/qemu/104?purge=1")
    assert lab.tasks.wait(upid, 10) == "OK"
    assert lab.access.pools["web"]["vms"] == []
    assert not [entry for entry in lab.access.acl if entry["path"] == "/vms/104"]


def test_a_pool_is_enough_to_create_in_and_no_more(lab: Lab, client: Client) -> None:
    client.data("POST", "/pools", {"poolid": "web"})
    client.data("POST", "/access/users", {"userid": "eve@pve"})
    client.data("POST", "/access/users/eve@pve/token/t1", {"privsep": "0"})
    _grant(lab, "/pool/web", "PVEVMAdmin")
    eve = Client(lab, "eve@pve!t1")
    assert (
        eve.ask("POST", "/nodes/clovis/qemu", {"vmid": "9000", "memory": "64"}).reason
        == "Permission check failed"
    )
    nowhere = eve.ask("POST", "/nodes/clovis/qemu", {"vmid": "9000", "pool": "nowhere"})
    assert nowhere.reason == "Permission check failed (pool 'nowhere' does not exist)"
    upid = eve.data("POST", "/nodes/clovis/qemu", {"vmid": "9000", "memory": "64", "pool": "web"})
    assert lab.tasks.wait(upid, 10) == "OK"
    assert lab.access.pools["web"]["vms"] == [9000]
    assert eve.get("/nodes/clovis/qemu/9000/config")["memory"] == "64"


def test_disks_are_listed_to_those_alone_who_may_read_the_storage_and_change_their_guests_disks(
    lab: Lab, client: Client
) -> None:
    disk = lab.storage_dir("clovis", "local-lvm") / "vm-104-disk-9"
    disk.write_bytes(b"")
    client.data("POST", "/access/users", {"userid": "eve@pve"})
    client.data("POST", "/access/users/eve@pve/token/t1", {"privsep": "0"})
    eve, path = (
        Client(lab, "eve@pve!t1"),
        "/nodes/clovis/storage/local-lvm/content?content=images&vmid=104",
    )
    _grant(lab, "/storage/local-lvm", "PVEDatastoreUser")
    assert eve.get(path) == []
    _grant(lab, "/vms", "PVEVMAdmin")
    assert [row["volid"] for row in eve.get(path)] == ["local-lvm:vm-104-disk-9"]


def test_a_listing_of_many_asks_for_the_same_rights_as_one_call_for_each(
    lab: Lab, service: Client
) -> None:
    access, everyday = lab.access, Identity("backupsvc@pve", "service")
    access.groups["ops"] = {"users": ["backupsvc@pve"]}
    access.pools["silver"] = {"vms": [101], "storage": []}
    entries = [
        ("/vms/100", "token", "NoAccess"),
        ("/pool/silver", "token", "PVEVMAdmin"),
        ("/vms/102", "token", "PVEAuditor"),
    ]
    access.acl += [
        {
            "path": path,
            "type": kind,
            "ugid": "backupsvc@pve!service",
            "roleid": role,
            "propagate": 1,
        }
        for path, kind, role in entries
    ]
    access.acl.append(
        {"path": "/vms", "type": "group", "ugid": "ops", "roleid": "PVEVMAdmin", "propagate": 0}
    )
    vmids = [vm.vmid for vm in lab.guests.all()]
    found = access.listed(everyday, "vms", vmids)
    assert found == {vmid: access.privileges(everyday, f"/vms/{vmid}") for vmid in vmids}
    assert len(set(found.values())) == 3  # refused, inherited, and its own entry
    assert 100 not in {row["vmid"] for row in service.get("/cluster/resources?type=vm")}
