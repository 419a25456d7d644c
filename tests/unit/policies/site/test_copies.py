"""The section ``copies`` of a policy: what each kind of target means, and what a wrong one is
told.
"""

from __future__ import annotations

import base64
from importlib.resources import files

import pytest

from policies.copy_folders import folder_of, kind_of
from policies.model import CopyTarget, Directory, PolicyError, PveStorage, SftpFolder
from policies.site import load_policy

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxmbGYxQ0r4pLJr2y6vQm0u8GmMZkHkWm7n0T2bJ9Zc"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDB"
WHOLE = f"""site: campus
copies:
  pve02:
    kind: pve-storage
    node: lge-pve02
    storage: local
    path: //var/./lib/vz/dump/
    bandwidth: 50000
    allow-root: true
  offsite:
    kind: sftp
    host: backup.example.com
    port: 2222
    user: langeo
    path: /copies
    host-keys:
      - {ED25519} root@backup
      - {RSA}
    immutable: true
  usb: {{kind: directory, path: /mnt/usb, mounted: yes}}
"""
PVE = "kind: pve-storage, node: a, storage: local, path: /d"
SFTP = f"kind: sftp, host: h, user: u, path: /d, host-keys: [{ED25519}]"
DIRECTORY = "kind: directory, path: /d"


def read(*targets: str) -> tuple[CopyTarget, ...]:
    lines = (f"  t{number}: {{{target}}}" for number, target in enumerate(targets))
    return load_policy("\n".join(["site: x", "copies:", *lines]), "site.yaml").copies


def refusal(*targets: str) -> str:
    with pytest.raises(PolicyError) as refused:
        read(*targets)
    return str(refused.value)


def test_everything_that_is_written_is_read_into_its_place() -> None:
    assert load_policy(WHOLE, "x").copies == (
        CopyTarget(
            "pve02",
            PveStorage("lge-pve02", "local", "/var/lib/vz/dump"),
            bandwidth=50000,
            allow_root=True,
        ),
        CopyTarget(
            "offsite",
            SftpFolder("backup.example.com", 2222, "langeo", "/copies", (ED25519, RSA)),
            immutable=True,
        ),
        CopyTarget("usb", Directory("/mnt/usb", mounted=True)),
    )


def test_what_is_not_written_means_what_the_page_says() -> None:
    assert (
        load_policy("site: x", "x").copies == () == load_policy("site: x\ncopies: {}", "x").copies
    )
    assert read(PVE, SFTP, DIRECTORY) == (
        CopyTarget("t0", PveStorage("a", "local", "/d")),
        CopyTarget("t1", SftpFolder("h", 22, "u", "/d", (ED25519,))),
        CopyTarget("t2", Directory("/d")),
    )
    assert read(SFTP)[0].bandwidth is None
    assert not read(SFTP)[0].immutable and not read(SFTP)[0].allow_root
    assert read(SFTP)[0].keep == "", "every copy stays"


@pytest.mark.parametrize("target", [SFTP, DIRECTORY])
def test_a_target_may_have_keep_rules_of_its_own(target: str) -> None:
    (read_target,) = read(f'{target}, keep: "keep-daily=7,keep-monthly=6"')
    assert read_target.keep == "keep-daily=7,keep-monthly=6"


@pytest.mark.parametrize(
    "target",
    [
        f"{SFTP}, port: 1",
        f"{SFTP}, port: 65535",
        f"{SFTP}, immutable: true",
        f"{PVE}, immutable: false",
        f'kind: sftp, host: "fd00::1", user: backup_2, path: /, host-keys: ["{RSA}"]',
        f"kind: sftp, host: 10.0.0.1, user: u, path: /, host-keys: [{RSA} a comment of words]",
    ],
)
def test_what_is_just_allowed_is_read(target: str) -> None:
    assert len(read(target)) == 1


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("path: /d", "the key 'kind' is missing; allowed: kind: pve-storage | sftp | directory"),
        ("kind: sfpt", "'sfpt' is unknown (did you mean 'sftp'?)"),
        ("kind: nfs", "'nfs' is unknown; allowed: pve-storage, sftp, directory"),
        ("kind: directory", "copies.t0: the key 'path' is missing"),
        (f"{DIRECTORY}, mountd: true", "the key 'mountd' is unknown (did you mean 'mounted'?)"),
        (f"{PVE}, mounted: true", "the key 'mounted' is unknown"),
        (f"{DIRECTORY}, host: h", "the key 'host' is unknown"),
        (
            "kind: directory, path: mnt",
            "'mnt'; allowed: a folder of this machine, such as /mnt/usb: a path that begins with /",
        ),
        ("kind: directory, path: /mnt/../etc", "'/mnt/../etc' leads back"),
        ("kind: pve-storage, storage: s, path: /d", "the key 'node' is missing"),
        ("kind: pve-storage, node: a, path: /d", "the key 'storage' is missing"),
        ("kind: pve-storage, node: -a, storage: s, path: /d", "'-a'; allowed: a node's name"),
        (
            f"{PVE}, immutable: true",
            "copies.t0.immutable: PVE itself removes archives from its storages",
        ),
        (f"{SFTP}, keep: keep-lst=3", "copies.t0.keep: "),
        (
            f"{SFTP}, keep: keep-last=3, immutable: true",
            "copies.t0.keep: what lies on an immutable target can be removed by nobody here",
        ),
        (
            f"{PVE}, keep: keep-last=3",
            "copies.t0.keep: PVE lists the copies there, so the `keep` of each guest's job rules",
        ),
        (f"{SFTP}, bandwidth: 0", "0 is out of range"),
        (f"{SFTP}, port: 0", "0 is out of range"),
        (f"{SFTP}, port: 65536", "65536 is out of range"),
        (f"{SFTP}, allow-root: perhaps", "'perhaps' is neither true nor false"),
        ("kind: sftp, user: u, path: /d", "the key 'host' is missing"),
        ("kind: sftp, host: h, path: /d", "the key 'user' is missing"),
        ("kind: sftp, host: h, user: u, path: /d", "the key 'host-keys' is missing"),
        ("kind: sftp, host: 'h:22', user: u, path: /d", "the port stands in `port`"),
        ("kind: sftp, host: h, user: '-oProxyCommand=x', path: /d", "a user's name"),
        ("kind: sftp, host: h, user: u, path: /d, host-keys: []", "no server would be believed"),
        (
            "kind: sftp, host: h, user: u, path: /d, host-keys: [ssh-dss AAAA]",
            "'ssh-dss' is no kind of host key",
        ),
        (
            "kind: sftp, host: h, user: u, path: /d, host-keys: [ssh-ed25519]",
            "what follows ssh-ed25519 is no key of that kind",
        ),
        (
            "kind: sftp, host: h, user: u, path: /d, host-keys: ['ssh-ed25519 ???']",
            "what follows ssh-ed25519 is no key",
        ),
        (
            "kind: sftp, host: h, user: u, path: /d, host-keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5]",
            "is no key of that kind",
        ),
        (
            "kind: sftp, host: h, user: u, path: /d, host-keys: "
            f"['{RSA.replace('ssh-rsa ', 'ssh-ed25519 ')}']",
            "is no key",
        ),
        (
            f"kind: sftp, host: h, user: u, path: /d, host-keys: [{ED25519}, {OTHER}]",
            "two keys of the kind ssh-ed25519",
        ),
    ],
)
def test_what_is_not_allowed_is_refused_by_name_and_line(target: str, what: str) -> None:
    said = refusal(target)
    assert what in said and said.startswith("site.yaml:3: ")


def key(kind: str, raw: bytes) -> str:
    return (
        f"kind: sftp, host: h, user: u, path: /d, host-keys: ['{kind} "
        f"{base64.b64encode(raw).decode()}']"
    )


@pytest.mark.parametrize(
    "kind",
    ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"],
)
def test_a_host_key_names_its_own_kind_within(kind: str) -> None:
    name, length = kind.encode(), len(kind).to_bytes(4, "big")
    assert len(read(key(kind, length + name + b"k"))) == 1
    for raw in (
        length + name,
        b"\0\0\0\1" + name + b"k",
        length + b"x" * len(name) + b"k",
        name + b"k" * 9,
    ):
        assert f"what follows {kind} is no key of that kind" in refusal(key(kind, raw))
    written = base64.b64encode(length + name + b"k").decode()
    assert "is no key of that kind" in refusal(
        key(kind, b"").replace(f"{kind} ", f"{kind} {written[:8]}!{written[8:]}")
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PVE, "kind: pve-storage, node: a, storage: another, path: /d/"),
        (SFTP, SFTP.replace("host: h", "host: H").replace("user: u", "user: v")),
        (DIRECTORY, "kind: directory, path: //d, mounted: true"),
    ],
)
def test_two_targets_are_never_one_folder(one: str, other: str) -> None:
    assert "site.yaml:4: copies.t1: this is the same folder as that of t0" in refusal(one, other)


@pytest.mark.parametrize(
    "other",
    [
        PVE.replace("node: a", "node: b"),
        SFTP.replace("user: u", "port: 23, user: u"),
        SFTP.replace("/d", "/e"),
    ],
)
def test_the_same_path_elsewhere_is_another_folder(other: str) -> None:
    assert len(read(PVE, SFTP, DIRECTORY, other)) == 4


def test_a_target_has_a_plain_name() -> None:
    with pytest.raises(PolicyError, match="a target's name: a letter, then letters"):
        load_policy(f"site: x\ncopies: {{9: {{{DIRECTORY}}}}}", "x")
    with pytest.raises(PolicyError, match="a mapping with `kind: pve-storage"):
        load_policy("site: x\ncopies: {usb: /mnt}", "x")


def test_a_target_is_told_by_its_kind_and_its_folder() -> None:
    targets = read(PVE, SFTP, DIRECTORY)
    assert [kind_of(target) for target in targets] == ["pve-storage", "sftp", "directory"]
    assert [folder_of(target) for target in targets] == ["a:/d", "sftp://h:22/d", "/d"]


@pytest.mark.parametrize("name", ["langeo", "small"])
def test_the_targets_that_the_shipped_policies_show_are_right(name: str) -> None:
    text = files("policies").joinpath("sites", f"{name}.yaml").read_text(encoding="utf-8")
    shown = text[text.index("# copies:") :].partition("\n\n")[0]
    written = "\n".join(line.removeprefix("# ") for line in shown.splitlines())
    assert load_policy(f"site: x\n{written}", "x").copies


# --- encrypted ------------------------------------------------------------------------------------

ONE = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
TWO = "age1pyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq8r66x"
SECRET = "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ"


@pytest.mark.parametrize("target", [SFTP, DIRECTORY, f"{SFTP}, immutable: true"])
def test_copies_of_a_target_may_be_encrypted_to_recipients(target: str) -> None:
    (found,) = read(f"{target}, encrypt: age, recipients: [{ONE}, ' {TWO} ']")
    assert found.recipients == (ONE, TWO)
    assert read(target)[0].recipients == ()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("encrypt: age", "the key 'recipients' is missing"),
        (f"recipients: [{ONE}]", "the key 'encrypt' is missing"),
        (f"encrypt: gpg, recipients: [{ONE}]", "'gpg' is unknown"),
        ("encrypt: age, recipients: []", "there are 0 recipients; allowed: 1 to 16"),
        (f"encrypt: age, recipients: {ONE}", "copies.t0.recipients: "),
        (f"encrypt: age, recipients: [{ONE}, {ONE}]", "is there twice"),
        (f"encrypt: age, recipients: [{ONE[:-1]}q]", "is mistyped: its checksum does not fit"),
        ("encrypt: age, recipients: [ssh-ed25519 AAAA]", "this is no age recipient"),
    ],
)
def test_what_is_no_encryption_is_refused(words: str, what: str) -> None:
    assert what in refusal(f"{DIRECTORY}, {words}")


def test_no_more_recipients_are_read_than_a_header_may_have() -> None:
    from pyrage import x25519

    keys = [str(x25519.Identity.generate().to_public()) for _ in range(17)]
    assert len(read(f"{DIRECTORY}, encrypt: age, recipients: [{', '.join(keys[:16])}]")) == 1
    assert "there are 17 recipients" in refusal(
        f"{DIRECTORY}, encrypt: age, recipients: [{', '.join(keys)}]"
    )


@pytest.mark.parametrize("words", [f"encrypt: age, recipients: [{ONE}]", f"recipients: [{ONE}]"])
def test_a_storage_of_pve_gets_no_encrypted_copies(words: str) -> None:
    assert "PVE could neither list nor restore an encrypted copy" in refusal(f"{PVE}, {words}")


@pytest.mark.parametrize(
    "words",
    [
        f"encrypt: age, recipients: [{ONE}, {SECRET}]",
        f"encrypt: age, recipients: {SECRET}",
        f"encrypt: {SECRET}",
        f"identity: {SECRET}",
        f"{SECRET}: x",
        f"path: {SECRET.lower()}",
        f"# {SECRET}",
        f"'{SECRET}",
    ],
)
def test_law_7_a_secret_key_in_the_policy_is_refused_and_never_repeated(words: str) -> None:
    text = f"site: x\ncopies:\n  t0: {{{DIRECTORY}, {words}}}\n"
    with pytest.raises(PolicyError, match="a secret key of age stands here") as refused:
        load_policy(text, "site.yaml")
    error = refused.value
    assert error.line == 3 and error.source == "site.yaml"
    assert "QQQQ" not in f"{error}{error.message}{error.__cause__}{error.__context__}".upper()
