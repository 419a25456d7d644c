"""From a bundle to a state directory: nothing of it is run, and what is missing is said."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyrage import x25519

from backupsvc.copies import age
from backupsvc.copies.bundle_opening import Opened, open_bundle
from backupsvc.copies.bundles import pack
from backupsvc.copies.config_sets import kept_in
from backupsvc.errors import ArchiveError, UsageError

KIT = x25519.Identity.generate()
IDENTITIES = age.Identities([KIT])
TOKEN = "svc@pve!b1=secret-of-old"
SETTINGS = """\
BACKUPSVC_PVE__HOST='pve1:8006'
BACKUPSVC_PVE__CA_FILE='files/BACKUPSVC_PVE__CA_FILE'
BACKUPSVC_SSH__KEY_FILE=
BACKUPSVC_PVE__TOKEN=
"""


def sealed(held: object) -> bytes:
    plain, to = io.BytesIO(json.dumps(held).encode()), io.BytesIO()
    age.encrypt(plain.read, to.write, [str(KIT.to_public())])
    return to.getvalue()


SECRETS = sealed(
    {"values": {"BACKUPSVC_PVE__TOKEN": TOKEN}, "keys": {"BACKUPSVC_SSH__KEY_FILE": "KEY\n"}}
)


def bundle(tmp_path: Path, **changes: bytes | None) -> Path:
    held: dict[str, bytes | None] = {
        "policy.yaml": b"site: langeo\n",
        "settings.env": SETTINGS.encode(),
        "catalog.sqlite": b"SQLite format 3\x00",
        "kept/backupsvc-config-20260309T200000Z.tar.zst": b"packed",
        "files/BACKUPSVC_PVE__CA_FILE": b"CERTIFICATE\n",
        "ORDER.txt": b"first\n",
    }
    held |= {name.replace("__", "."): data for name, data in changes.items()}
    to = tmp_path / "backupsvc-break-glass-20260309T200000Z.tar.zst"
    pack([(name, data) for name, data in held.items() if data is not None], to, lambda: None)
    return to


def opened(path: Path, identities: age.Identities | None = None, **options: Any) -> Opened:
    return open_bundle(path, path.parent / "state", identities, **options)


def environment(found: Opened) -> dict[str, str]:
    """What a shell has once it has read the file of settings."""
    done = subprocess.run(
        ["sh", "-c", f"set -a; . {found.environment}; env -0"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
    )
    pairs = (entry.partition("=") for entry in done.stdout.decode().split("\0"))
    return {name: value for name, _, value in pairs if name.startswith("BACKUPSVC_")}


def test_catalog_policy_kept_configuration_and_settings_are_where_the_service_looks(
    tmp_path: Path,
) -> None:
    found = opened(bundle(tmp_path))
    state = tmp_path / "state"
    assert (state / "catalog.db").read_bytes() == b"SQLite format 3\x00"
    assert [path.read_bytes() for path in kept_in(state).values()] == [b"packed"]
    assert environment(found) == {
        "BACKUPSVC_STATE_DIR": str(state),
        "BACKUPSVC_POLICY": str(state / "policy.yaml"),
        "BACKUPSVC_PVE__HOST": "pve1:8006",
        "BACKUPSVC_PVE__CA_FILE": str(state / "files/BACKUPSVC_PVE__CA_FILE"),
    }
    assert found.missing == ("BACKUPSVC_SSH__KEY_FILE", "BACKUPSVC_PVE__TOKEN")
    assert (found.host, found.files, found.dump) == ("pve1:8006", 6, None)
    assert found.environment.stat().st_mode & 0o77 == 0


def test_a_token_that_is_typed_is_used_where_the_bundle_has_none(tmp_path: Path) -> None:
    found = opened(bundle(tmp_path), token="typed=1")
    assert environment(found)["BACKUPSVC_PVE__TOKEN"] == "typed=1"
    assert found.missing == ("BACKUPSVC_SSH__KEY_FILE",)


def test_who_has_the_kit_gets_the_secrets_and_nobody_else(tmp_path: Path) -> None:
    path = bundle(tmp_path, secrets__age=SECRETS)
    with_kit = opened(path, IDENTITIES, token="typed=1")
    known = environment(with_kit)
    assert known["BACKUPSVC_PVE__TOKEN"] == TOKEN and with_kit.missing == ()
    key = Path(known["BACKUPSVC_SSH__KEY_FILE"])
    assert key.read_text() == "KEY\n" and key.stat().st_mode & 0o77 == 0
    other = age.Identities([x25519.Identity.generate()])
    for identities in (None, other):
        folder = tmp_path / f"without-{identities is None}"
        assert len(open_bundle(path, folder, identities).missing) == 2


@pytest.mark.parametrize(
    "held",
    [
        b"no age",
        sealed([]),
        sealed({"values": {}}),
        sealed({"values": {"a": 1}, "keys": {}}),
        sealed({"values": {}, "keys": {"a": "\ud800"}}),
    ],
)
def test_secrets_that_are_none_are_said_to_be(tmp_path: Path, held: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"secrets\.age"):
        opened(bundle(tmp_path, secrets__age=held), IDENTITIES)


def test_an_encrypted_bundle_is_opened_with_the_kit_and_leaves_no_plain_one(tmp_path: Path) -> None:
    plain = bundle(tmp_path)
    path = plain.with_name(plain.name + ".age")
    with plain.open("rb") as source, path.open("wb") as to:
        age.encrypt(source.read, to.write, [str(KIT.to_public())])
    plain.unlink()
    with pytest.raises(UsageError, match="is encrypted"):
        opened(path)
    with pytest.raises(UsageError, match="none of the identities"):
        opened(path, age.Identities([x25519.Identity.generate()]))
    assert opened(path, IDENTITIES).files == 6
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name, "state"]


def test_an_encrypted_bundle_that_is_none_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.zst.age"
    path.write_bytes(b"no age")
    with pytest.raises(ArchiveError, match="is no file of age"):
        opened(path, IDENTITIES)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_only_the_bundle_that_was_meant_is_opened(tmp_path: Path) -> None:
    path = bundle(tmp_path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ArchiveError, match="not " + "0" * 64):
        opened(path, sha256="0" * 64)
    assert not (tmp_path / "state").exists()
    assert opened(path, sha256=sha256.upper()).sha256 == sha256
    with pytest.raises(UsageError, match="cannot be read"):
        opened(tmp_path / "nowhere")


HOSTILE = b"""\
BACKUPSVC_PVE__HOST='$(touch owned)'
BACKUPSVC_PVE__TIMEOUT=$(touch owned)
BACKUPSVC_PVE__FINGERPRINT=';touch owned;'
PATH='/tmp/theirs'
BACKUPSVC_NOT_OURS='1'
BACKUPSVC_LOG__LEVEL='info' touch owned
touch owned
BACKUPSVC_SSH__USER='a'\\''b'
"""


def test_nothing_that_stands_in_the_settings_is_run(tmp_path: Path) -> None:
    found = opened(bundle(tmp_path, settings__env=HOSTILE))
    known = environment(found)
    assert known["BACKUPSVC_PVE__HOST"] == "$(touch owned)"
    assert known["BACKUPSVC_PVE__FINGERPRINT"] == ";touch owned;"
    assert known["BACKUPSVC_SSH__USER"] == "a'b"
    assert set(known) == {
        "BACKUPSVC_STATE_DIR",
        "BACKUPSVC_POLICY",
        "BACKUPSVC_PVE__HOST",
        "BACKUPSVC_PVE__FINGERPRINT",
        "BACKUPSVC_SSH__USER",
    }
    assert not list(tmp_path.rglob("owned")) and not Path("owned").exists()


@pytest.mark.parametrize("held", [None, b"\xff\xfe"])
def test_without_settings_that_can_be_read_the_rest_is_there_all_the_same(
    tmp_path: Path, held: bytes | None
) -> None:
    found = opened(bundle(tmp_path, settings__env=held))
    assert (found.host, found.missing) == ("", ())
    assert set(environment(found)) == {"BACKUPSVC_STATE_DIR", "BACKUPSVC_POLICY"}


def test_a_folder_whose_name_is_no_text_is_one_all_the_same(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"state-\xff")
    found = open_bundle(bundle(tmp_path), odd, None)
    assert os.fsencode(str(odd)) in found.environment.read_bytes()


def test_a_dump_of_postgresql_is_left_to_pg_restore(tmp_path: Path) -> None:
    found = opened(bundle(tmp_path, catalog__sqlite=None, catalog__pgdump=b"PGDMP"))
    assert found.dump and found.dump.read_bytes() == b"PGDMP"
    assert not (tmp_path / "state" / "catalog.db").exists()
