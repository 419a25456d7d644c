"""``catalog config`` on a lab with modelled guests: what is kept on two nights without a change is
the same, what changed is told, and what a token may not read is said.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from pvelab.accident import delete_guest
from tests.commands import Answer, Shell
from tests.integration.conftest import LANGEO
from tests.integration.pveum import ask

pytestmark = pytest.mark.slow
NODE, VMID, LOST = "clovis", 108, 110
WEB = f"guests/qemu-{VMID}.conf"
SECRET = "zQ9hunter2"


@dataclass
class User:
    """Somebody whose policy names a folder as a copy target."""

    site: Shell
    usb: Path
    policy: Path

    def __call__(self, *words: object, token: str = "") -> Answer:
        env = {"BACKUPSVC_POLICY": str(self.policy)}
        env |= {"BACKUPSVC_PVE__TOKEN": token} if token else {}
        return Shell(self.site.state, self.site.env | env)("catalog", "config", *words)

    def keep(self, *words: object, token: str = "") -> dict[str, Any]:
        """Keep one now, and return what was said of it. A set is named by its second, and takes
        that of no other.
        """
        time.sleep(1)
        answer = self("keep", "--json", *words, token=token)
        assert answer.code == 0, answer.out + answer.err
        return dict(answer.json)

    def file(self, kept: dict[str, Any]) -> str:
        return str(kept["places"][0]["file"])

    def time(self, kept: dict[str, Any]) -> str:
        found = re.search(r"\d{8}T\d{6}Z", self.file(kept))
        assert found
        return found[0]

    def as_root(self, method: str, path: str, /, **params: Any) -> Any:
        return ask(self.site.state / "lab", method, f"/{path}", **params)


@pytest.fixture(scope="module")
def user(site: Shell, tmp_path_factory: pytest.TempPathFactory) -> User:
    home = tmp_path_factory.mktemp("user")
    usb = home / "usb"
    usb.mkdir()
    policy = home / "policy.yaml"
    target = json.dumps({"usb": {"kind": "directory", "path": str(usb)}})
    policy.write_text(f"{LANGEO.read_text(encoding='utf-8')}\ncopies: {target}\n", "utf-8")
    made = User(site, usb, policy)
    made.keep()
    return made


def test_what_is_kept_twice_without_a_change_is_the_same_bytes_here_and_at_the_target(
    user: User,
) -> None:
    first, second = user.keep(), user.keep()
    assert [one["state"] for one in first["places"]] == ["kept", "kept"]
    here = user.site.state / "config"
    files = [folder / user.file(kept) for folder in (here, user.usb) for kept in (first, second)]
    assert len({file.read_bytes() for file in files}) == 1 and files[0] != files[1]
    assert (files[0].stat().st_mode & 0o777, here.stat().st_mode & 0o777) == (0o600, 0o700)
    same = user("diff", user.time(first), "latest")
    assert same.code == 0 and same.out.startswith("nothing differs between ")
    listed = user("list", "--json").json["sets"]
    assert [one["file"] for one in listed[:2]] == [user.file(second), user.file(first)]
    assert listed[0]["files"] == first["files"] > 15 and listed[0]["not_read"] > 0


def test_what_changed_is_told_by_file_and_line_and_no_secret_with_it(user: User) -> None:
    before = user.keep()
    user.as_root(
        "PUT", f"nodes/{NODE}/qemu/{VMID}/config", cores=3, description=f"the\nPIN {SECRET}"
    )
    try:
        after = user.keep()
    finally:
        user.as_root("PUT", f"nodes/{NODE}/qemu/{VMID}/config", cores=2, delete="description")
    found = user("diff", user.time(before), user.time(after), "--json")
    assert found.code == 1
    (web,) = found.json["differences"]
    assert (web["file"], web["change"]) == (WEB, "changed")
    assert web["removed"] == ["cores: 2"]
    assert sorted(web["added"]) == ["#PIN <left out>", "#the", "cores: 3"]
    told = user("diff", user.time(before), user.time(after)).out.splitlines()
    assert told[0] == f"changed: {WEB}" and "  - cores: 2" in told and "  + cores: 3" in told
    shown = user("show", user.time(after), WEB)
    assert shown.code == 0 and shown.out.startswith("#the\n#PIN <left out>\n")
    for file in (*(user.site.state / "config").iterdir(), *user.usb.iterdir()):
        assert SECRET.encode() not in zstd.decompress(file.read_bytes())


def test_what_a_token_may_not_read_is_said_and_is_not_gone(user: User) -> None:
    whole = user.keep()
    user.as_root("POST", "access/users", userid="blind@pve")
    try:
        made = user.as_root("POST", "access/users/blind@pve/token/eyes", privsep=0)
        blind = user.keep("--to", "usb", token=f"blind@pve!eyes={made['value']}")
    finally:
        user.as_root("DELETE", "access/users/blind@pve")
    said = {one["file"]: one["reason"] for one in blind["not_read"]}
    assert "Sys.Audit" in said["jobs.cfg"] and "127.0.0.1" not in json.dumps(said)
    parts = {one["file"]: one["reason"] for one in blind["in_part"]}
    assert "VM.Audit on /vms" in parts["guests/"] and "Datastore.Audit" in parts["storage.cfg"]
    found = user("diff", user.time(whole), user.time(blind), "--json").json["differences"]
    told = {one["file"]: one for one in found}
    assert f"qemu: {VMID}" in told["guests.cfg"]["said"]
    assert told[WEB]["change"] == told["jobs.cfg"]["change"] == "unknown"
    assert [one["file"] for one in found if one["removed"]] == []
    refused = user("show", user.time(blind), "jobs.cfg")
    assert refused.code == 2 and "was not read then" in refused.err


def test_with_pves_own_read_only_role_nothing_is_told_in_part(user: User) -> None:
    who = {"users": "backupsvc@pve", "tokens": "backupsvc@pve!service"}
    grant = {"path": "/", "roles": "PVEAuditor", **who}
    assert {one["file"] for one in user.keep()["in_part"]} >= {"storage.cfg", "pools.cfg"}
    user.as_root("PUT", "access/acl", **grant)
    try:
        assert user.keep()["in_part"] == []
    finally:
        user.as_root("PUT", "access/acl", delete=1, **grant)


def test_a_guest_that_was_deleted_is_gone_and_all_that_it_was_can_be_read(user: User) -> None:
    before = user.keep()
    delete_guest(user.site.state / "lab", NODE, LOST)
    after = user.keep()
    found = user("diff", user.time(before), user.time(after), "--json").json["differences"]
    (lost,) = (one for one in found if one["file"] == f"guests/qemu-{LOST}.conf")
    assert lost["change"] == "removed" and any("name: " in line for line in lost["removed"])
    shown = user("show", user.time(before), f"guests/qemu-{LOST}.conf", "--json").json
    assert "net0: virtio=" in shown["files"][0]["text"]


def test_a_dry_run_reads_and_writes_nothing(user: User) -> None:
    here = user.site.state / "config"
    before = sorted([*here.iterdir(), *user.usb.iterdir()])
    planned = user("keep", "--dry-run", "--json").json
    assert [(one["target"], one["state"]) for one in planned["places"]] == [
        ("state directory", "planned"),
        ("usb", "planned"),
    ]
    assert sorted([*here.iterdir(), *user.usb.iterdir()]) == before


def test_into_a_folder_it_goes_there_alone(user: User, tmp_path: Path) -> None:
    (place,) = user.keep("--output", str(tmp_path))["places"]
    assert [file.name for file in tmp_path.iterdir()] == [place["file"]]
    assert not (user.site.state / "config" / place["file"]).exists()


def test_a_target_that_is_away_is_said_and_the_other_places_have_it(
    user: User, tmp_path: Path
) -> None:
    text = user.policy.read_text("utf-8").replace(str(user.usb), str(tmp_path / "away"))
    other = tmp_path / "policy.yaml"
    other.write_text(text, "utf-8")
    time.sleep(1)
    answer = user.site("catalog", "config", "keep", "--json", BACKUPSVC_POLICY=str(other))
    assert answer.code == 1
    states = {one["target"]: one["state"] for one in answer.json["places"]}
    assert states == {"state directory": "kept", "usb": "failed"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "yesterday"), "yesterday is no date"),
        (("show", "1999-01-01"), "no configuration of 1999-01-01 is kept here"),
        (("show", "latest", "../../etc/passwd"), "has no file ../../etc/passwd"),
        (("keep", "--to", "nas"), "no copy target nas"),
        (("keep", "--to", "usb", "--output", "/tmp"), "--output goes with no --to"),
    ],
)
def test_what_is_asked_wrongly_is_an_error_with_a_way_on(
    user: User, words: tuple[str, ...], said: str
) -> None:
    answer = user(*words)
    assert answer.code == 2 and said in answer.err and "\n  -> " in answer.err


def test_a_kept_file_that_broke_is_named_and_the_others_are_listed(user: User) -> None:
    kept = user.keep()
    file = user.site.state / "config" / user.file(kept)
    file.write_bytes(file.read_bytes()[:100])
    try:
        listed = user("list")
        assert listed.code == 1 and f"{file.name} is no kept configuration" in listed.err
        shown = user("show", user.time(kept))
        assert shown.code == 1 and "catalog config list" in shown.err
    finally:
        file.unlink()
