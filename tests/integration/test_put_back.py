"""``catalog config put-back`` on a lab with modelled guests: what a guest had around it is back after
it, what the token may not do is printed, and nothing that others set up meanwhile is overwritten.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.commands import Answer, Shell
from tests.integration.test_restore_asked import at_a_terminal
from tests.integration.test_surroundings import LOST, NODE, OTHER, User, lose, polling

pytestmark = [pytest.mark.slow, pytest.mark.long(300)]
BOTH = ("backupsvc@pve!service", "backupsvc@pve!restore")
# what each of the calls needs (pve-facts 8.8)
RIGHTS = {
    "/": "Sys.Audit,Sys.Console,Sys.Modify",
    "/pool/web": "Pool.Audit,Pool.Allocate",
    "/storage": "Datastore.Allocate,Datastore.AllocateSpace",
}


class Owner(User):
    """The user of ``test_surroundings``, who may also put back."""

    def put_back(self, *words: object, vmid: int = LOST) -> Answer:
        return self.site("catalog", "config", "put-back", vmid, *words)

    def actions(self, *words: object, vmid: int = LOST) -> dict[str, str]:
        answer = self.put_back(*words, "--json", vmid=vmid)
        return {one["what"]: one["action"] for one in answer.json["items"]}

    def tokens(self) -> list[str]:
        found = self.as_root("GET", "access/users/backupsvc@pve/token")
        return [f"backupsvc@pve!{one['tokenid']}" for one in found]

    def give(self, path: str, privileges: str, *, delete: int = 0) -> None:
        role = "PutBack" + path.replace("/", "-").title().replace("-", "")
        if not delete and role not in {
            one["roleid"] for one in self.as_root("GET", "access/roles")
        }:
            self.as_root("POST", "access/roles", roleid=role, privs=privileges)
        who = {"users": "backupsvc@pve", "tokens": ",".join(self.tokens())}
        self.as_root("PUT", "access/acl", path=path, roles=role, delete=delete, **who)


@pytest.fixture(scope="module")
def owner(site: Shell) -> Iterator[Owner]:
    made = Owner(site)
    who = {"users": "backupsvc@pve", "tokens": ",".join(made.tokens())}
    made.as_root("PUT", "access/acl", path="/", roles="PVEAuditor", **who)
    made.as_root("POST", "access/users", userid="alice@pve")
    made.as_root("POST", "pools", poolid="web")
    made.as_root("PUT", "pools", poolid="web", vms=LOST)
    made.as_root("PUT", "access/acl", path=f"/vms/{LOST}", roles="PVEVMUser", users="alice@pve")
    only = {"schedule": "21:00", "storage": "local", "mode": "snapshot", "comment": "it's $(id)"}
    made.as_root("POST", "cluster/backup", id="alone", vmid=LOST, **only)
    made.as_root("POST", "cluster/backup", id="but", all=1, exclude=f"{LOST},{OTHER}", **only)
    if f"vm:{OTHER}" not in {one["sid"] for one in made.as_root("GET", "cluster/ha/resources")}:
        made.as_root("POST", "cluster/ha/resources", sid=f"vm:{OTHER}")
    nodes = {"type": "node-affinity", "nodes": f"{NODE}:2"}
    made.as_root("POST", "cluster/ha/rules", rule="home", resources=f"vm:{LOST}", **nodes)
    made.as_root(
        "POST", "cluster/ha/rules", rule="both", resources=f"vm:{LOST},vm:{OTHER}", **nodes
    )
    made.as_root("PUT", f"cluster/ha/resources/vm:{LOST}", comment='it\'s "it"', max_restart=3)
    assert site("backup", "run", "--vmid", LOST).code == 0
    made.keep()
    lose(made)
    yield made


def test_nothing_is_put_back_around_a_guest_that_is_not_there(owner: Owner) -> None:
    answer = owner.put_back("--yes")
    assert answer.code == 4 and "there is no guest 108" in answer.err
    assert "restore it first: `backupsvc restore 108`" in answer.err
    dry = owner.put_back("--dry-run", "--json")
    assert dry.code == 4 and "no guest 108" in dry.json["error"]["message"]
    assert {one["action"] for one in dry.json["items"]} >= {"command"}


def test_without_a_terminal_nothing_is_put_back_unless_that_was_said(owner: Owner) -> None:
    answer = owner.put_back()
    assert answer.code == 2 and "add --yes if that is decided" in answer.err


def test_a_token_that_may_nothing_leaves_all_of_it_as_commands(owner: Owner) -> None:
    restored = owner.site("restore", LOST, "--yes", "--surroundings", "--no-start", "--json")
    assert restored.code == 1, restored.out + restored.err
    told = restored.json["put_back"]
    assert restored.json["restored"] and told["error"] is None and told["left"]
    done = {one["what"]: one for one in told["items"]}
    assert done["pool web"]["action"] == "command"
    assert done["pool web"]["commands"] == [f"pvesh set /pools --poolid web --vms {LOST}"]
    assert "lacks Pool.Allocate on /pool/web" in done["pool web"]["detail"]
    assert done[f"HA resource vm:{LOST}"]["action"] == "command"
    assert done["HA rule home"]["action"] == "skipped"
    assert done["firewall"]["action"] == "skipped"
    assert not [one for one in owner.as_root("GET", "cluster/backup") if one["id"] == "alone"]


def test_a_guest_that_does_not_run_gets_no_ha_that_would_start_it(owner: Owner) -> None:
    for path, privileges in RIGHTS.items():
        owner.give(path, privileges)
    ahead = owner.put_back("--dry-run", "--json")
    assert ahead.code == 1
    planned = {one["what"]: one for one in ahead.json["items"]}
    assert planned["pool web"]["action"] == "planned"
    held_back = planned[f"HA resource vm:{LOST}"]
    assert held_back["action"] == "skipped" and "does not run" in held_back["detail"]
    assert planned["HA rule home"]["action"] == "skipped"


def test_a_no_at_the_terminal_puts_nothing_back(owner: Owner) -> None:
    answer = at_a_terminal(
        owner.site, "catalog", "config", "put-back", LOST, types=b"n\n", asked=b"Put it back?"
    )
    assert answer.code == 1 and "nothing was put back" in answer.out
    assert "put back: pool web" in answer.out
    assert not owner.as_root("GET", "pools/web").get("members")


def test_all_that_the_token_may_is_put_back_and_the_rest_is_printed(owner: Owner) -> None:
    start = f"nodes/{NODE}/qemu/{LOST}/status"
    owner.as_root("POST", f"{start}/start")
    for _ in polling(60):
        if owner.as_root("GET", f"{start}/current")["status"] == "running":
            break
    # somebody was quicker at one job, and set up another rule in the other's place
    job = {"schedule": "3:00", "storage": "local", "mode": "stop", "vmid": LOST}
    owner.as_root("POST", "cluster/backup", id="alone", **job)
    answer = owner.put_back("--yes", "--json")
    assert answer.code == 1, "rights are left to be given"
    told = {one["what"]: one for one in answer.json["items"]}
    assert {what: one["action"] for what, one in told.items()} == {
        "pool web": "done",
        f"rights /vms/{LOST} user alice@pve PVEVMUser": "command",
        "firewall": "skipped",
        "replication job": "skipped",
        "backup job but": "done",
        "backup job backup-langeo": "done",
        f"HA resource vm:{LOST}": "done",
        "HA rule home": "done",
        "HA rule both": "done",
    } | ({"start order and tags": "done"} if "start order and tags" in told else {})
    rights = told[f"rights /vms/{LOST} user alice@pve PVEVMUser"]
    assert rights["commands"][0].startswith(f"pveum acl modify /vms/{LOST} --roles PVEVMUser")
    assert "lacks Permissions.Modify" in rights["detail"]
    assert owner.as_root("GET", "cluster/backup/alone")["mode"] == "stop"
    assert str(LOST) in owner.as_root("GET", "cluster/backup/but")["exclude"].split(",")
    resource = owner.as_root("GET", f"cluster/ha/resources/vm:{LOST}")
    assert (resource["comment"], int(resource["max_restart"])) == ('it\'s "it"', 3)
    home, both = (owner.as_root("GET", f"cluster/ha/rules/{name}") for name in ("home", "both"))
    assert home["resources"] == f"vm:{LOST}"
    assert set(both["resources"].split(",")) == {f"vm:{LOST}", f"vm:{OTHER}"}
    (member,) = owner.as_root("GET", "pools/web")["members"]
    assert member["vmid"] == LOST
    shown = owner.site("operations", "show", answer.json["operation"])
    assert "came of it" in shown.out and "left to be typed, as root on a node" in shown.out
    assert f"pveum acl modify /vms/{LOST}" in shown.out and "asked by" in shown.out


def test_what_is_there_already_is_not_put_back_again(owner: Owner) -> None:
    again = owner.put_back("--yes", "--json")
    assert {one["action"] for one in again.json["items"]} <= {"command", "skipped"}
    assert again.code == 1


def test_a_worker_puts_it_back_as_well(owner: Owner) -> None:
    owner.as_root("PUT", "pools", poolid="web", vms=LOST, delete=1)
    left = owner.put_back("--enqueue", "--yes", "--json")
    assert left.code == 0 and left.json["operations"][0]["kind"] == "put-back"
    cancelled = owner.site("operations", "cancel", left.json["operations"][0]["id"], "--json")
    assert cancelled.json["operations"][0]["state"] == "cancelled"
    assert not owner.as_root("GET", "pools/web").get("members")
