"""What a restore would be refused is refused before it begins: with exit 4, by path and privilege,
and nothing is left behind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Answer, Shell
from tests.integration.root_shell import NODE, Root

pytestmark = pytest.mark.slow

VMID, TOKEN = 105, "other@pve!mine"
POLICY = """
site: least
timezone: Europe/Paris
scratch: {vmids: 9000-9009, bridge: vmbr9, storage: local, settle: 1s}
jobs: {nightly: {storage: local, guests: [105]}}
"""
# what a restore needs that puts guest 105 back where it was: its disk on local-lvm, its NIC on
# vmbr0
RIGHTS = {
    "/vms": "VM.Audit VM.Backup VM.Allocate VM.PowerMgmt",
    "/storage/local": "Datastore.AllocateSpace",
    "/storage/local-lvm": "Datastore.AllocateSpace",
    "/sdn/zones/localnetwork/vmbr0": "SDN.Use",
}


@pytest.fixture(scope="module")
def root(site: Shell) -> Root:
    """A lab in which guest 105 was lost after its archive was made, and another user with a token
    of its own.
    """
    admin = Root(site.state)
    admin("POST", "/access/users", userid="other@pve")
    secret = admin("POST", "/access/users/other@pve/token/mine", privsep=1)["value"]
    (site.state / "other").write_text(f"{TOKEN}={secret}")
    admin.task("POST", f"/nodes/{NODE}/vzdump", vmid=VMID, storage="local", compress="zstd")
    admin.destroy(VMID)
    return admin


@pytest.fixture
def grant(root: Root) -> Iterator[Any]:
    """Give the other token exactly these rights; they are taken back afterwards."""
    given: list[tuple[str, str]] = []

    def give(rights: dict[str, str]) -> None:
        for path, privileges in rights.items():
            name = f"R{len(given)}"
            root("POST", "/access/roles", roleid=name, privs=privileges.replace(" ", ","))
            root("PUT", "/access/acl", path=path, roles=name, users="other@pve", tokens=TOKEN)
            given.append((path, name))

    yield give
    for _, name in given:
        root("DELETE", f"/access/roles/{name}")


@pytest.fixture
def shell(site: Shell, tmp_path: Path) -> Shell:
    """A user of that lab with the policy above."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    return Shell(site.state, {"BACKUPSVC_POLICY": str(tmp_path / "policy.yaml")})


def restoring(site: Shell, shell: Shell, *words: object) -> Answer:
    return shell(
        "restore",
        VMID,
        "--yes",
        "--json",
        *words,
        BACKUPSVC_PVE__RESTORE_TOKEN=(site.state / "other").read_text(),
    )


@pytest.mark.parametrize(
    ("path", "privilege"), [(path, one) for path, all in RIGHTS.items() for one in all.split()]
)
@pytest.mark.parametrize("words", [(), ("--dry-run",)], ids=["for real", "dry run"])
def test_without_any_one_right_nothing_begins_and_nothing_is_left(
    site: Shell,
    shell: Shell,
    root: Root,
    grant: Any,
    path: str,
    privilege: str,
    words: tuple[str, ...],
) -> None:
    less = {
        where: " ".join(one for one in held.split() if (where, one) != (path, privilege))
        for where, held in RIGHTS.items()
    }
    grant({where: held for where, held in less.items() if held})
    answer = restoring(site, shell, *words)
    assert answer.code == 4, answer.out + answer.err
    told = answer.json.get("error") or answer.json["blockers"][0]
    assert privilege in told["message"] and told["exit_code"] == 4
    assert VMID not in root.guests()
    assert not [
        row
        for row in root("GET", f"/nodes/{NODE}/tasks")
        if row["type"] == "qmrestore" and row["user"].startswith("other")
    ]


def test_law_2_the_everyday_token_is_never_told_to_take_a_production_bridge(
    shell: Shell, site: Shell, root: Root
) -> None:
    saved = json.loads((site.state / "lab" / "settings.json").read_text(encoding="utf-8"))
    everyday = Shell(
        site.state, shell.env | {"BACKUPSVC_PVE__RESTORE_TOKEN": saved["pve"]["token"]}
    )
    answer = everyday("restore", VMID, "--yes", "--json")
    assert answer.code == 4
    assert re.search(
        r"SDN\.Use on /sdn/zones/localnetwork/vmbr0/\d+, to put net0 back onto it",
        answer.json["error"]["message"],
    )
    assert re.search(
        r"doctor --role --restore vmbr0/\d+ --disks local-lvm`", answer.json["error"]["hint"]
    )
    assert "acl modify" not in answer.json["error"]["hint"]
    assert VMID not in root.guests()


def test_doctor_passes_a_restore_token_that_can_bring_every_guest_back_and_names_what_another_lacks(
    site: Shell, shell: Shell, root: Root, grant: Any
) -> None:
    token = (site.state / "other").read_text()
    less = RIGHTS | {
        "/storage/local-lvm": "Datastore.Audit",
        "/sdn/zones/localnetwork/vmbr0": "SDN.Audit",
    }
    for rights, complete in ((less, False), (RIGHTS, True)):
        if complete:
            for row in root("GET", "/access/acl"):
                if row["ugid"].startswith("other"):
                    kind = {"user": "users", "token": "tokens"}[row["type"]]
                    root(
                        "PUT",
                        "/access/acl",
                        path=row["path"],
                        roles=row["roleid"],
                        delete=1,
                        **{kind: row["ugid"]},
                    )
        grant(rights)
        # guest 104 stands for those that are there: its disk and its NIC are where 105's were
        policy = Path(shell.env["BACKUPSVC_POLICY"])
        policy.write_text(POLICY.replace("[105]", "[104]"))
        answer = shell("doctor", "--json", BACKUPSVC_PVE__RESTORE_TOKEN=token)
        lines = [line for line in answer.json["lines"] if line["name"] == "restore token"]
        if not complete:
            lacking = " ".join(line["detail"] for line in lines if line["status"] == "failed")
            assert "Datastore.AllocateSpace on /storage/local-lvm" in lacking
            assert re.search(r"SDN\.Use on /sdn/zones/localnetwork/vmbr0/\d+", lacking)
            assert "on /storage/local," not in lacking
        else:
            assert [line["status"] for line in lines] == ["ok"], lines


def test_with_all_of_them_the_guest_comes_back(
    site: Shell, shell: Shell, root: Root, grant: Any
) -> None:
    grant(RIGHTS)
    assert restoring(site, shell, "--dry-run").code == 0
    answer = restoring(site, shell)
    assert answer.code == 0, answer.out + answer.err
    assert root.guests()[VMID]["status"] == "running"
