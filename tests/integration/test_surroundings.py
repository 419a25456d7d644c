"""``catalog config surroundings`` on a lab with modelled guests: what a guest that was deleted had
around it is named, and when the calls that are told were carried out nothing is missing.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pvelab.accident import delete_guest
from tests.commands import Answer, Shell
from tests.integration.pveum import ask

pytestmark = pytest.mark.slow
NODE, LOST, OTHER = "clovis", 108, 105
WHO = {"users": "backupsvc@pve", "tokens": "backupsvc@pve!service"}


class User:
    def __init__(self, site: Shell) -> None:
        self.site = site

    def __call__(self, *words: object, vmid: int = LOST) -> Answer:
        return self.site("catalog", "config", "surroundings", vmid, *words)

    def items(self, *words: object, vmid: int = LOST) -> dict[tuple[str, str], Any]:
        found = self(*words, "--json", vmid=vmid).json
        assert found["why_none"] is None, found
        return {(one["kind"], one["name"]): one for one in found["items"]}

    def as_root(self, method: str, path: str, /, **params: Any) -> Any:
        return ask(self.site.state / "lab", method, f"/{path}", **params)

    def keep(self) -> None:
        time.sleep(1)  # a set is named by its second
        assert self.site("catalog", "config", "keep").code == 0


@pytest.fixture(scope="module")
def user(site: Shell) -> Iterator[User]:
    made = User(site)
    made.as_root("PUT", "access/acl", path="/", roles="PVEAuditor", **WHO)
    made.as_root("POST", "access/users", userid="alice@pve")
    made.as_root("POST", "pools", poolid="web")
    made.as_root("PUT", "pools", poolid="web", vms=LOST)
    made.as_root("PUT", "access/acl", path=f"/vms/{LOST}", roles="PVEVMUser", users="alice@pve")
    only = {"schedule": "21:00", "storage": "local", "mode": "snapshot", "comment": "it's $(id)"}
    made.as_root("POST", "cluster/backup", id="alone", vmid=LOST, **only)
    made.as_root("POST", "cluster/backup", id="but", all=1, exclude=f"{LOST},{OTHER}", **only)
    kept = made.as_root("GET", "cluster/ha/resources")
    assert f"vm:{LOST}" in {one["sid"] for one in kept}
    if f"vm:{OTHER}" not in {one["sid"] for one in kept}:
        made.as_root("POST", "cluster/ha/resources", sid=f"vm:{OTHER}")
    nodes = {"type": "node-affinity", "nodes": f"{NODE}:2"}
    made.as_root("POST", "cluster/ha/rules", rule="home", resources=f"vm:{LOST}", **nodes)
    made.as_root(
        "POST", "cluster/ha/rules", rule="both", resources=f"vm:{LOST},vm:{OTHER}", **nodes
    )
    assert site("backup", "run", "--vmid", LOST).code == 0
    made.keep()
    yield made


def test_of_a_guest_that_is_there_nothing_is_missing(user: User) -> None:
    answer = user("--json")
    assert answer.code == 1, "the lab tells nothing of firewalls and replication"
    assert {(one["action"], one["known"]) for one in answer.json["items"]} == {("none", False)}
    assert {one["kind"] for one in answer.json["items"]} == {"firewall", "replication job"}


def test_what_a_deleted_guest_had_is_told_and_put_back(user: User) -> None:
    user.as_root("PUT", f"cluster/ha/resources/vm:{LOST}", comment='it\'s "it"', max_restart=3)
    user.keep()
    lose(user)
    user.keep()
    found = user.items()
    to_do = [one for one in found.values() if one["action"] == "command"]
    assert {(one["kind"], one["name"]) for one in to_do} == {
        ("pool", "web"),
        ("rights", f"/vms/{LOST} user alice@pve PVEVMUser"),
        ("backup job", "alone"),
        ("backup job", "but"),
        ("backup job", "backup-langeo"),
        ("HA resource", f"vm:{LOST}"),
        ("HA rule", "home"),
        ("HA rule", "both"),
    }
    told = user()
    assert told.code == 1
    (added,) = [line for line in told.out.splitlines() if line.startswith("  ha-manager add")]
    words = shlex.split(added)
    assert words[:3] == ["ha-manager", "add", f"vm:{LOST}"]
    assert words[words.index("--comment") + 1] == 'it\'s "it"'
    assert words[words.index("--max_restart") + 1] == "3"
    restored = user.site("restore", LOST, "--yes")
    assert restored.code == 0, restored.err
    put_back(user, user.items().values())
    again = user("--json").json["items"]
    assert [one for one in again if one["action"] != "none"] == []
    job = user.as_root("GET", "cluster/backup/alone")
    assert (job["vmid"], job["comment"]) == (str(LOST), "it's $(id)")
    assert str(LOST) in user.as_root("GET", "cluster/backup/but")["exclude"].split(",")


def test_a_guest_that_no_set_has_is_said(user: User) -> None:
    answer = user("--json", vmid=4711)
    assert answer.code == 1 and answer.json["items"] == []
    assert answer.json["why_none"] == "guest 4711 is in no configuration that is kept here"
    assert "nothing can be told" in user(vmid=4711).out


def lose(user: User) -> None:
    """As somebody does it who wants it gone: HA lets go of a guest only when it is stopped there."""
    user.as_root("PUT", f"cluster/ha/resources/vm:{LOST}", state="stopped")
    for _ in polling(120):
        if user.as_root("GET", f"nodes/{NODE}/qemu/{LOST}/status/current")["status"] == "stopped":
            break
    delete_guest(user.site.state / "lab", NODE, LOST)


def polling(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.2)
    raise TimeoutError(f"not within {seconds:.0f} s")


def put_back(user: User, items: Any) -> None:
    for one in items:
        for call in one["calls"]:
            params = {pair["name"]: pair["value"] for pair in call["params"]}
            user.as_root(call["method"], call["path"], **params)
