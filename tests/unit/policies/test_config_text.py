"""What Proxmox VE answers becomes the same text however it is told, and no secret comes with it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cluster_config import Source
from policies.config_secrets import LEFT_OUT
from policies.config_sources import LXC, QEMU
from policies.config_text import NoText, names_in, text_of
from policies.pve.guest_config import parse_config
from tests.unit.policies.test_config_sources import every

OF = {one.file: one for one in every()}
STORAGE = OF["storage.cfg"]
# as recorded (02_inventory, 10_permissions), with what another storage may bring
STORAGES: list[dict[str, Any]] = [
    {
        "digest": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "storage": "local",
        "type": "dir",
        "path": "/var/lib/vz",
        "priority": 0,
        "prune-backups": "keep-all=1",
        "content": "images,snippets,backup,vztmpl,iso,rootdir",
    },
    {
        "storage": "pbs",
        "type": "pbs",
        "server": "pbs.example.org",
        "datastore": "main",
        "username": "svc@pbs!pve",
        "encryption-key": "aa:bb",
        "new-in-pve-12": {"deep": [{"x": 1}]},
        "content": "backup",
        "shared": True,
        "port": 8007,
        "nodes": None,
    },
]


def test_storages_are_sections_as_in_pves_own_file() -> None:
    assert text_of(STORAGE, STORAGES) == (
        "dir: local\n"
        "\tcontent backup,images,iso,rootdir,snippets,vztmpl\n"
        "\tpath /var/lib/vz\n"
        "\tprune-backups keep-all=1\n"
        "\n"
        "pbs: pbs\n"
        "\tcontent backup\n"
        "\tdatastore main\n"
        "\tencryption-key <left out>\n"
        "\tnew-in-pve-12 <left out>\n"
        "\tport 8007\n"
        "\tserver pbs.example.org\n"
        "\tshared 1\n"
        "\tusername svc@pbs!pve\n"
    )


def shuffled(value: Any, seed: int) -> Any:
    """The same answer, told in another order; what PVE counts anew each time is other."""
    dice = random.Random(seed)
    if isinstance(value, list):
        return dice.sample([shuffled(one, seed) for one in value], len(value))
    if isinstance(value, dict):
        told = dice.sample(list(value.items()), len(value))
        found = {key: shuffled(one, seed) for key, one in told}
        if "content" in found:
            words = found["content"].split(",")
            found["content"] = ",".join(dice.sample(words, len(words)))
        return found | ({"digest": str(seed), "uptime": seed} if "storage" in found else {})
    return value


@given(st.integers(0, 10_000))
def test_what_is_told_in_another_order_gives_the_same_bytes(seed: int) -> None:
    assert text_of(STORAGE, shuffled(STORAGES, seed)) == text_of(STORAGE, STORAGES)


def test_users_have_their_tokens_behind_them_and_no_second_factor() -> None:
    rows = [
        {
            "userid": "svc@pve",
            "enable": 1,
            "expire": 0,
            "realm-type": "pve",
            "keys": "x!yubico",
            "tokens": [{"tokenid": "b1", "privsep": 1, "value": "0-1-2"}],
        },
        {"userid": "root@pam", "enable": 1},
    ]
    assert text_of(OF["access/users.cfg"], rows) == (
        "user: root@pam\n\tenable 1\n\n"
        "user: svc@pve\n\tenable 1\n\texpire 0\n\tkeys <left out>\n\n"
        "token: svc@pve!b1\n\tprivsep 1\n\tvalue <left out>\n"
    )


def test_roles_that_come_with_pve_are_no_configuration() -> None:
    rows = [
        {"roleid": "PVEAuditor", "special": 1, "privs": "Sys.Audit"},
        {"roleid": "Own", "special": 0, "privs": "VM.Audit,Sys.Audit"},
    ]
    assert text_of(OF["access/roles.cfg"], rows) == "role: Own\n\tprivs Sys.Audit,VM.Audit\n"
    assert names_in(OF["access/roles.cfg"], rows) == ("Own",)


def test_an_entry_of_the_access_control_list_is_named_by_all_of_it() -> None:
    rows = [{"path": "/", "type": "token", "ugid": "a@pve!b", "roleid": "R", "propagate": 1}]
    assert text_of(OF["access/acl.cfg"], rows) == "acl: / token a@pve!b R\n\tpropagate 1\n"


def test_jobs_have_pves_words_for_what_the_api_tells_as_objects() -> None:
    rows = [
        {
            "id": "job1",
            "enabled": 1,
            "next-run": 1795487400,
            "vmid": "200,100",
            "prune-backups": {"keep-weekly": "4", "keep-last": "3"},
        }
    ]
    assert text_of(OF["jobs.cfg"], rows) == (
        "vzdump: job1\n\tenabled 1\n\tprune-backups keep-last=3,keep-weekly=4\n\tvmid 200,100\n"
    )


def test_rules_stand_in_their_order() -> None:
    rows = [{"pos": pos, "action": "ACCEPT"} for pos in (10, 9, 0)]
    found = text_of(OF["firewall/rules.cfg"], rows)
    assert [line for line in found.splitlines() if ":" in line] == [
        "rule: 0",
        "rule: 9",
        "rule: 10",
    ]


def test_a_pools_members_are_named_but_for_copies() -> None:
    rows = [
        {
            "poolid": "web",
            "comment": "",
            "members": [
                {"type": "qemu", "vmid": 108, "cpu": 0.1, "uptime": 3},
                {"type": "qemu", "vmid": 9001},
                {"type": "storage", "storage": "nas"},
            ],
        }
    ]
    found = text_of(OF["pools/{name}.cfg"], rows, range(9000, 9010))
    assert found == "pool: web\n\tcomment\n\tmember qemu/108\n\tmember storage/nas\n"


def test_a_guest_is_written_as_pve_writes_it_and_can_be_read_so() -> None:
    config = {
        "name": "web",
        "description": "Réseau: 100 %\nsecond line\n",
        "net0": "virtio=BC:24:11:00:00:08,bridge=vmbr0",
        "efidisk0": "local-lvm:vm-108-disk-1,pre-enrolled-keys=1,size=4M",
        "cipassword": "**********",
        "sshkeys": "ssh-ed25519%20AAAA",
        "smbios1": "uuid=8365df69",
        "digest": "x",
        "lock": "backup",
        "args": "-vnc 0.0.0.0:1,password=on",
    }
    text = text_of(QEMU, config)
    assert text == (
        "#R%C3%A9seau%3A 100 %25\n#second line\n"
        "args: -vnc 0.0.0.0:1,pass <left out>\n"
        "cipassword: <left out>\n"
        "efidisk0: local-lvm:vm-108-disk-1,pre-enrolled-keys=1,size=4M\n"
        "name: web\nnet0: virtio=BC:24:11:00:00:08,bridge=vmbr0\n"
        "smbios1: uuid=8365df69\nsshkeys: ssh-ed25519%20AAAA\n"
    )
    read = parse_config(text)
    assert read["description"] == config["description"] and read["net0"] == config["net0"]


def test_a_containers_own_lines_keep_their_order_and_its_environment_no_value() -> None:
    found = text_of(
        LXC,
        {
            "hostname": "web",
            "env": "DB_PASSWORD=x\0A=b",
            "lxc": [["lxc.environment", "TOKEN=x"], ["lxc.cap.drop", "sys_time"], ["lxc.key", "x"]],
        },
    )
    assert found == (
        "env: <left out>\nhostname: web\n"
        "lxc.environment: <left out>\nlxc.cap.drop: sys_time\nlxc.key: <left out>\n"
    )


def test_lines_of_a_file_and_of_an_interface_are_lines() -> None:
    hosts = {"data": "127.0.0.1 localhost\n\n10.0.0.2 pve02\n", "digest": "x"}
    assert text_of(OF["nodes/{node}/hosts.cfg"], hosts) == (
        "data: 127.0.0.1 localhost\ndata:\ndata: 10.0.0.2 pve02\n"
    )
    card = {"iface": "vmbr0", "type": "bridge", "options": ["post-up a", "post-up wpa-psk b"]}
    assert text_of(OF["nodes/{node}/network.cfg"], [card]) == (
        "bridge: vmbr0\n\toptions post-up a; post-up wpa-psk <left out>\n"
    )


@pytest.mark.parametrize("name", ["a\nforged: 1", "\x1b[31m", "\u2028x", "\ud800", "a\tb", "é"])
def test_hostile_names_and_values_forge_no_line(name: str) -> None:
    rows = [{"storage": name, "type": name, "path": name, name: name, "content": name}]
    text = text_of(STORAGE, rows)
    text.encode()
    assert len(text.splitlines()) == 4 and text.count("\t") == 3
    said = text_of(QEMU, {"name": name, "description": name, name: name})
    said.encode()
    assert all(line[0] == "#" or ": " in line for line in said.splitlines())
    assert "forged: 1" not in said.splitlines() and "forged: 1" not in text.splitlines()


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        (STORAGE, {"data": 1}),
        (STORAGE, None),
        (STORAGE, ["local"]),
        (STORAGE, [{"type": "dir"}]),
        (QEMU, [1]),
        (LXC, {"lxc": ["x"]}),
        (LXC, {"lxc": ["ab"]}),
        (LXC, {"lxc": [["a", "b", "c"]]}),
        (OF["access/acl.cfg"], [{"path": "/", "type": "user", "ugid": "u", "roleid": None}]),
        (LXC, {"lxc": [["a", 1]]}),
        (OF["pools/{name}.cfg"], [{"poolid": "a", "members": "none"}]),
    ],
)
def test_an_answer_of_another_form_is_none(source: Source, answer: object) -> None:
    with pytest.raises(NoText):
        text_of(source, answer)


def test_what_has_no_form_of_pves_keeps_its_name_alone() -> None:
    assert text_of(LXC, {"lxc": 1, "memory": 512.5, "net0": [["x"]]}) == (
        "lxc: 1\nmemory: 512.5\nnet0: <left out>\n"
    )
    assert text_of(LXC, {"net1": [1, {"a": 2}]}) == "net1: <left out>\n"
    nested = {"storage": "s", "prune-backups": {"keep-last": [{}], "password": "x"}}
    assert f"keep-last={LEFT_OUT},password={LEFT_OUT}" in text_of(STORAGE, [nested])


def test_only_what_is_numbered_of_what_is_known_is_kept() -> None:
    found = text_of(QEMU, {"net0": "virtio", "evil7": "x", "net": "y", "members": [{"a": 1}]})
    assert found == "evil7: <left out>\nmembers: <left out>\nnet: y\nnet0: virtio\n"
    assert text_of(STORAGE, [{"storage": "s", "port7": 1}]) == "storage: s\n\tport7 <left out>\n"


def test_a_name_that_sounds_like_a_secret_is_left_out_even_if_a_list_has_it() -> None:
    careless = replace(STORAGE, fields=STORAGE.fields | {"password"})
    assert "password <left out>" in text_of(careless, [{"storage": "s", "password": "x"}])


@pytest.mark.parametrize("key", ["content", "nodes"])
def test_what_is_a_set_is_sorted_and_what_is_none_is_not(key: str) -> None:
    row = {"storage": "s", key: ",b;a  c,", "path": "b,a"}
    assert text_of(STORAGE, [row]) == f"storage: s\n\t{key} a,b,c\n\tpath b,a\n"


def test_sets_of_users_groups_and_resources_are_sorted() -> None:
    groups = text_of(OF["access/groups.cfg"], [{"groupid": "g", "users": "b@pve,a@pve"}])
    users = text_of(OF["access/users.cfg"], [{"userid": "u", "groups": "b,a"}])
    rules = text_of(OF["ha/rules.cfg"], [{"rule": "r", "resources": "vm:2,vm:1"}])
    assert groups.endswith("users a@pve,b@pve\n") and users.endswith("groups a,b\n")
    assert rules == "rule: r\n\tresources vm:1,vm:2\n"


@pytest.mark.parametrize(
    ("special", "own"),
    [(1, False), ("1", False), (True, False), (2, True), (0, True), (None, True)],
)
def test_a_role_is_pves_own_where_pve_says_so(special: object, own: bool) -> None:
    row = {"roleid": "R", "special": special, "privs": "a"}
    assert bool(text_of(OF["access/roles.cfg"], [row])) is own


def test_names_with_numbers_stand_in_their_order_and_digits_of_others_are_letters() -> None:
    names = ["b", "a10", "a9", "9", "10", "a\u00b2", "a" + "9" * 40]
    found = text_of(STORAGE, [{"storage": name} for name in names])
    order = [line.partition(": ")[2] for line in found.splitlines() if line]
    assert order == ["9", "10", "a9", "a10", "a" + "9" * 40, "a\u00b2", "b"]


@pytest.mark.parametrize(
    ("notes", "lines"),
    [
        ("", ["description:"]),
        ("webX", ["#webX"]),
        ("a\n\nb\n", ["#a", "#", "#b"]),
        ('x\x7fy~ \\"', ['#x%7Fy~ \\"']),
        ("\ud800", ["#?"]),
    ],
)
def test_notes_are_lines(notes: str, lines: list[str]) -> None:
    assert text_of(QEMU, {"description": notes}).splitlines() == lines


def test_a_comment_that_ends_in_an_x_keeps_it() -> None:
    row = {"userid": "u@pve", "comment": "webX\n"}
    assert text_of(OF["access/users.cfg"], [row]) == "user: u@pve\n\tcomment webX\n"


def test_an_environment_of_a_containers_own_lines_is_told_by_its_beginning() -> None:
    lines = [["lxc.environment.runtime", "a"], ["my.lxc.environment", "b"], ["a/b", "c"]]
    found = text_of(LXC, {"lxc": lines})
    assert found == "lxc.environment.runtime: <left out>\nmy.lxc.environment: b\na%2Fb: c\n"


HEAD, TAIL = "zQ9head", "tail9Qz"
SECRETS = st.text(max_size=20).map(lambda text: f"{HEAD}{text}{TAIL}")
NAMES = st.sampled_from(
    ["password", "secret", "token", "key", "encryption-key", "cipassword", "keyring", "value", "keys",
     "client-key", "wpa-psk", "unheard-of", "env", "bindpw", "master-pubkey", "header"]
)  # fmt: skip


@given(st.sampled_from(every()), NAMES, SECRETS, st.randoms(use_true_random=False))
def test_no_secret_that_stands_in_an_answer_stands_in_the_text(
    source: Source, name: str, secret: str, dice: random.Random
) -> None:
    """Under a name that sounds like one, or that nobody knows; within a value, an object, a list, a
    sentence; of a row, and of an object.
    """
    row: dict[str, Any] = dict.fromkeys(source.id, "id")
    row |= {name: dice.choice([secret, [secret], {"a": secret}, [{"b": secret}]])}
    for known in sorted(source.fields - {"members", "lxc", *source.id}):
        plain = "".join(secret.split()).replace("@", "")
        row[known] = dice.choice(
            [
                f"a=1,password={secret}",
                f"keep-last=3, secret = {secret}",
                f"http://u:{plain}@host",
                f"-----BEGIN X\n{secret}",
                {"keep-last": "3", "password": secret},
                {"deep": [{"x": secret}]},
                [{"x": secret}],
                f"notes\nroot password=\n\n{secret}",
            ]
        )
    if "lxc" in source.fields:
        row["lxc"] = [["lxc.environment", secret], ["lxc.a", f"token {secret}"]]
    if source.path == "access/users":
        row["tokens"] = [{"tokenid": "t", "value": secret}]
    text = text_of(source, [row] if source.id else row)
    assert HEAD not in text and TAIL not in text, text


def test_the_property_notices_a_field_whose_secret_is_kept() -> None:
    careless = replace(STORAGE, fields=STORAGE.fields | {"unheard-of"})
    assert HEAD in text_of(careless, [{"storage": "s", "unheard-of": HEAD}])
