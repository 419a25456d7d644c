"""Encrypted copies from the policy to the day on which everything else is gone, on a lab with
modelled guests: ``copy run``, ``copy list``, ``copy rehearse``, ``archive decrypt``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from pyrage import x25519

from backupsvc.copies import age
from policies.age_keys import fingerprint
from tests.commands import Answer, Shell
from tests.integration.administrator import disable_pve_job
from tests.integration.conftest import LANGEO

pytestmark = pytest.mark.slow

VMID = 105
KEY, STRANGER = x25519.Identity.generate(), x25519.Identity.generate()
SAFE = str(x25519.Identity.generate().to_public())
MINE = str(KEY.to_public())


@dataclass
class User:
    """Somebody whose copies go, encrypted, to a folder, and who keeps a key elsewhere."""

    site: Shell
    policy: Path
    usb: Path
    kit: Path

    def __call__(self, *words: object, stdin: str | None = None) -> Answer:
        return self.site(*words, stdin=stdin, BACKUPSVC_POLICY=str(self.policy))

    def write(self, **changes: Any) -> None:
        usb = {"kind": "directory", "path": str(self.usb), "encrypt": "age"}
        usb |= {"recipients": [MINE, SAFE]} | changes
        text = LANGEO.read_text(encoding="utf-8")
        self.policy.write_text(f"{text}\ncopies: {json.dumps({'usb': usb})}\n", encoding="utf-8")

    def copy(self) -> dict[str, Any]:
        answer = self("copy", "run", "--vmid", VMID, "--json")
        assert answer.code == 0, answer.out + answer.err
        (one,) = answer.json["copies"]
        found: dict[str, Any] = one
        return found

    def listed(self) -> list[dict[str, Any]]:
        """What is known of this user's folder: the lab is others', too."""
        found = self("copy", "list", "--json").json["copies"]
        return [one for one in found if one["target"]["path"] == str(self.usb)]

    def findings(self) -> list[dict[str, Any]]:
        found = self("pra", "status", "--json").json["findings"]
        return [one for one in found if one["id"] == "kit-unrehearsed"]


@pytest.fixture
def user(site: Shell, tmp_path: Path) -> Iterator[User]:
    disable_pve_job(site.state)
    made = User(site, tmp_path / "policy.yaml", tmp_path / "usb", tmp_path / "kit.txt")
    made.usb.mkdir()
    made.kit.write_text(f"# the sheet in the safe\n{KEY}\n", encoding="ascii")
    made.write()
    answer = made("backup", "run", "--vmid", VMID, "--json")
    assert answer.code == 0, answer.out + answer.err
    yield made


def original(user: User) -> Path:
    folder = user.site.state / "lab" / "nodes" / "clovis" / "var" / "lib" / "vz" / "dump"
    return sorted(folder.glob(f"vzdump-qemu-{VMID}-*.vma.zst"))[-1]


def nowhere(tmp_path: Path) -> Shell:
    """A machine that knows nothing: no catalog, no policy, no cluster."""
    return Shell(tmp_path / "nowhere", {"BACKUPSVC_POLICY": "/nonexistent"})


def test_law_8_a_guest_comes_back_from_the_folder_and_the_key_alone(
    user: User, tmp_path: Path
) -> None:
    made, archive = user.copy(), original(user)
    assert made["state"] == "verified" and made["reason"].startswith("encrypted; each segment")
    (shown,) = user.listed()
    assert (shown["encrypted"], shown["rung"]) == (True, "intact (encrypted)")
    told = user("copy", "list")
    assert "verified, intact (encrypted)" in told.out and "no key was ever shown" in told.out
    # nothing there can be read: neither the guest's name, nor an archive's first bytes
    for file in user.usb.iterdir():
        data = file.read_bytes()
        assert b"Kanboard" not in data and b"\x28\xb5\x2f\xfd" not in data[:200]
        assert file.suffix == ".json" or data.startswith(b"age-encryption.org/v1\n")
    out, shell = tmp_path / "out", nowhere(tmp_path)
    words = ("archive", "decrypt", user.usb / archive.name, "--output", out)
    foreseen = shell(*words, "--dry-run", "--json")
    assert foreseen.code == 0 and not out.exists()
    wrong = shell(*words, "--identity", "-", stdin=f"{STRANGER}\n")
    assert wrong.code == 2 and "none of the identities opens" in wrong.err
    assert str(STRANGER)[:30] not in wrong.err + wrong.out
    nobody = shell(*words)
    assert nobody.code == 2 and "there is no terminal to ask" in nobody.err
    typed = shell(*words, "--identity", str(KEY))
    assert typed.code == 2 and str(KEY) not in typed.err + typed.out
    assert list(out.iterdir()) == []
    other = shell(*words, "--identity", user.kit, "--sha256", "ab" * 32)
    assert other.code == 1 and "expected is abab" in other.err
    done = shell(*words, "--identity", user.kit, "--sha256", made["sha256"], "--json")
    assert done.code == 0, done.err
    assert (out / archive.name).read_bytes() == archive.read_bytes()
    assert {one["file"] for one in done.json["files"]} == {
        one["file"] for one in foreseen.json["files"]
    }
    assert done.json["recipient"] == MINE and f"{archive.name}.notes" in done.out
    assert shell("archive", "verify", out / archive.name).code == 0
    again = shell(*words, "--identity", user.kit)
    assert again.code == 2 and "exists already and is not overwritten" in again.err


def test_a_key_that_works_is_evidence_until_it_leaves_the_policy(user: User) -> None:
    user.copy()
    assert [one["severity"] for one in user.findings()] == ["warning"]
    dry = user("copy", "rehearse", "--dry-run", "--json")
    assert dry.code == 0 and dry.json["rehearsal"]["works"] is False
    seed = dry.json["rehearsal"]["seed"]
    wrong = user("copy", "rehearse", "--identity", "-", stdin=str(STRANGER))
    assert wrong.code == 2 and user.findings()
    nobody = user("copy", "rehearse")
    assert nobody.code == 2 and "--identity" in nobody.err
    done = user(
        "copy", "rehearse", "--seed", seed, "--identity", "-", "--json", stdin=user.kit.read_text()
    )
    assert done.code == 0, done.err
    told = done.json["rehearsal"]
    assert (told["works"], told["key"], told["seed"]) == (True, fingerprint(MINE), seed)
    assert told["volid"].endswith(original(user).name) and str(KEY) not in done.out + done.err
    (kit,) = user("copy", "list", "--json").json["kits"]
    assert (kit["key"], kit["rehearsed"]) == (fingerprint(MINE), told["at"])
    assert user.findings() == []
    state = user.site.state
    assert not list(state.glob("rehearsal-*"))
    for file in (one for one in state.rglob("*") if one.is_file()):
        assert str(KEY).encode() not in file.read_bytes(), file
    user.write(recipients=[SAFE])
    assert [one["severity"] for one in user.findings()] == ["warning"], "nobody tried that key"


def test_what_is_there_is_found_again_by_its_manifest_and_what_is_lost_is_said(user: User) -> None:
    first = user.copy()
    assert user.copy()["moved"] == 0
    for path in user.site.state.glob("catalog.db*"):
        path.unlink()
    assert user("catalog", "rebuild", "--json").code == 0
    again = user.copy()
    assert (again["moved"], again["reason"]) == (0, "its manifest matches")
    assert again["sha256"] == first["sha256"]
    (segment,) = user.usb.glob("*.00001.age")
    segment.unlink()
    lost = user("copy", "sync", "--dry-run", "--json").json["copies"]
    assert [one["state"] for one in lost] == ["lost"]
    assert user("copy", "sync", "--json").code == 0
    assert user.listed() == []
    assert user("copy", "rehearse", "--dry-run").code == 1


def test_a_restore_test_names_the_way_on_where_only_an_encrypted_copy_is_left(user: User) -> None:
    user.copy()
    for path in (user.site.state / "lab").rglob(f"vzdump-qemu-{VMID}-*.vma.zst"):
        path.unlink()
    answer = user("restore-test", VMID, "--dry-run")
    assert answer.code == 1 and "archive decrypt FOLDER/" in answer.out + answer.err


def test_law_7_the_catalogs_snapshot_is_encrypted_there_too(user: User) -> None:
    answer = user("catalog", "backup", "--json")
    assert answer.code == 0, answer.err
    (file,) = user.usb.iterdir()
    assert re.fullmatch(r"backupsvc-catalog-[0-9TZ]+\.sqlite\.zst\.age", file.name)
    packed = bytearray()
    with file.open("rb") as stream:
        age.decrypt(stream.read, packed.extend, age.Identities([KEY]))
    assert zstd.decompress(bytes(packed)).startswith(b"SQLite format 3\x00")


def test_law_7_the_clusters_configuration_is_encrypted_there_and_plain_beside_the_catalog(
    user: User,
) -> None:
    answer = user("catalog", "config", "keep", "--json")
    assert answer.code == 0, answer.err
    (file,) = user.usb.iterdir()
    assert re.fullmatch(r"backupsvc-config-[0-9TZ]+\.tar\.zst\.age", file.name)
    packed = bytearray()
    with file.open("rb") as stream:
        age.decrypt(stream.read, packed.extend, age.Identities([KEY]))
    here = user.site.state / "config" / file.name.removesuffix(".age")
    assert bytes(packed) == here.read_bytes()
    listed = user("catalog", "config", "list", "--json").out
    assert ".age" not in listed


def test_without_encryption_there_is_nothing_to_rehearse(user: User) -> None:
    user.write(encrypt=None, recipients=None)
    answer = user("copy", "rehearse")
    assert answer.code == 2 and "encrypt: age" in answer.err
    secret = user.policy.read_text().replace("copies:", f"# {KEY}\ncopies:")
    user.policy.write_text(secret)
    answer = user("policy", "check")
    assert answer.code == 2 and "a secret key of age stands here" in answer.err
    assert str(KEY)[20:] not in answer.err + answer.out
