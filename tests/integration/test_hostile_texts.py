"""Every command, before a cluster, archives, a policy and arguments whose texts are hostile: none
of it acts on the terminal.

What a guest, its owner or an archive can write must be shown as what it is, not done: no escape
sequence, no control or invisible character, no reversed text, no markup, no forged line. A new
command has no case here, and so fails.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import tarfile
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backupsvc.catalog import Catalog
from backupsvc.copies.config_sets import FOLDER, pack
from backupsvc.copies.snapshots import CONFIG, name_at
from policies.cluster_config import ConfigSet
from policies.model import Suspicion, SuspicionKind
from policies.segments import Segment, SegmentManifest, manifest_name, segment_name
from tests import warm
from tests.commands import Shell, briefly
from tests.integration.conftest import LANGEO
from tests.integration.hostile_lab import BAD, FORGED, STYLE
from tests.unit.archives.filesystems import made
from tests.unit.cli.test_app import TREE

pytestmark = [pytest.mark.slow, pytest.mark.long(600)]
ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "golden" / "vma_samples"
ACTING = ("Cc", "Cf", "Cs", "Zl", "Zp")
OWN_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# a program's, of no person
NOTATION = re.compile(r"\{'|\['|\('|[ =(]None\b|\b(?:True|False)\b|<\w+\.\w+: |=\[|=\{|Decimal\(")
# as the installed script does it
ENTRY = "import sys; sys.argv[0] = 'backupsvc'; from backupsvc.cli import main; main()"
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
ARGUMENT = BAD.replace("\n", " ")


def acting(text: str) -> set[str]:
    """Given an output, return the characters in it that do something, or hide, instead of being
    shown.
    """
    return {
        character
        for character in text
        if character not in "\n\t" and unicodedata.category(character) in ACTING
    }


@dataclass
class Site:
    """A user before the hostile lab."""

    shell: Shell
    policy: Path
    archives: Path
    ids: list[str] = field(default_factory=list)
    volid: str = ""

    def run(self, *words: str, stdin: bytes = b"", **env: str) -> tuple[int, str, str]:
        """Given a command's words, return its exit code and its outputs, which must be UTF-8, with
        every byte that it wrote.
        """
        done = warm.python(["-c", ENTRY, *words], self.env(**env), stdin)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def env(self, **more: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKUPSVC_")}
        own = {
            "BACKUPSVC_STATE_DIR": str(self.shell.state),
            "BACKUPSVC_POLICY": str(self.policy),
            "COLUMNS": "200",
        }
        return kept | own | more


def hostile_tar(folder: Path) -> Path:
    """A container's archive with a hostile config and members."""
    path = folder / "vzdump-lxc-200-2026_03_09-21_00_02.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, text in (
            ("./etc/vzdump/pct.conf", f"#{BAD}\nhostname: web{STYLE}\n"),
            (f"./etc/{STYLE}x", "x"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("hostile")
    shell = Shell(home)
    lab = home / "lab"
    lab.mkdir()
    policy = home / "policy.yaml"
    text = briefly(LANGEO.read_text(encoding="utf-8")).replace(
        "  window: 01:00-06:00", "  # any time", 1
    )
    named = "site: " + json.dumps("langeo" + BAD).replace("\x7f", r"\x7f")
    folder = home / "usb[red]"
    folder.mkdir()
    text += (
        f"\ncopies: {{usb: {{kind: directory, path: {json.dumps(str(folder))}, immutable: "
        f"true, encrypt: age, recipients: [{RECIPIENT}]}}}}\n"
    )
    policy.write_text(re.sub(r"(?m)^site: .*$", lambda line: named, text), encoding="utf-8")
    archives = Path(
        os.fsdecode(os.fsencode(str(home)) + b"/" + f"a{STYLE}[red]".encode() + b"\xff")
    )
    archives.mkdir()
    (archives / "vzdump-qemu-108-2026_03_10-21_00_03.vma.zst").write_bytes(
        (SAMPLES / "vzdump-qemu-108-2026_03_10-21_00_03.vma.zst").read_bytes()
    )
    hostile_tar(archives)
    command = [
        sys.executable,
        "-m",
        "tests.integration.hostile_lab",
        "--dir",
        str(lab),
        "--hypervisor",
        "simulated",
    ]
    server = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not (lab / "ready.json").is_file():
            assert server.poll() is None
            time.sleep(0.1)
        yield _lived_in(Site(shell, policy, archives))
    finally:
        server.terminate()
        server.wait(30)


def _lived_in(made: Site) -> Site:
    """A night is over: two archives, a restore test, a failed restore; one operation is open."""
    made.run("backup", "run", "--vmid", "105", "--vmid", "108")
    made.run("restore-test", "108")
    made.run("prune", "--enqueue")
    made.run("catalog", "config", "keep")
    # as somebody at a copy target may have written it, and not as we read it from PVE
    kept = pack(ConfigSet({"hostile.cfg": f"{BAD}\n"}, {"storage.cfg": BAD.replace("\n", " ")}))
    (made.shell.state / FOLDER / name_at(1_773_086_400, "tar", CONFIG)).write_bytes(kept)
    conf = made.shell.state / "lab/etc/pve/nodes/clovis/qemu-server/108.conf"
    machine = re.findall("(?m)^smbios1: .*\n", conf.read_text(encoding="utf-8"))[0]
    around = {
        "guests.cfg": "qemu: 108\n\tnode clovis\n",
        "guests/qemu-108.conf": f"{machine}onboot: 1\ntags: {BAD}\n",
        "ha/resources.cfg": f"vm: vm:108\n\tcomment {BAD}\n\tgroup {BAD}\n",
        "ha/rules.cfg": f"node-affinity: {STYLE}\n\tnodes {BAD}\n\tresources vm:108\n",
        "jobs.cfg": f"vzdump: j\n\tcomment {BAD}\n\tschedule 1:00\n\tvmid 108\n",
        "replication.cfg": f"local: 108-0\n\ttarget {STYLE}\n",
        "access/acl.cfg": f"acl: /vms/108 user {STYLE} x\n\tpropagate 1\n",
        "pools/x.cfg": f"pool: {STYLE}\n\tmember qemu/108\n",
        "guests/qemu-108.firewall/options.cfg": f"enable: {BAD}\n",
        "guests/qemu-108.firewall/rules.cfg": f"rule: 0\n\taction {STYLE}\n\ttype in\n",
    }
    kept = pack(ConfigSet(around, {"pools.cfg": BAD.replace("\n", " ")}))
    (made.shell.state / FOLDER / name_at(1_773_172_800, "tar", CONFIG)).write_bytes(kept)
    kept = pack(ConfigSet(around))
    (made.shell.state / FOLDER / name_at(1_773_176_400, "tar", CONFIG)).write_bytes(kept)
    made.ids = [
        item["id"] for item in json.loads(made.run("operations", "list", "--json")[1])["operations"]
    ]
    assert len(made.ids) >= 4
    found = json.loads(made.run("catalog", "list", "--vmid", "108", "--json")[1])["archives"][0]
    made.volid = found["volid"]
    # as the header of an archive may have named its disk
    odd = Suspicion(SuspicionKind.EMPTIED, f"drive{BAD}", 2.0, 1.0, f"local:backup/{STYLE}")
    with Catalog.open(f"sqlite:///{made.shell.state / 'lab' / 'catalog.db'}") as catalog:
        catalog.archive_signs.mark({(found["node"], made.volid): [odd]})
    return made


Words = Callable[[Site], Sequence[Sequence[str]]]


def all_shown(site: Site) -> list[list[str]]:
    return [["operations", "show", id] for id in site.ids]


def of_files(command: str, *more: str) -> Words:
    return lambda site: [
        ["archive", command, str(file), *more] for file in sorted(site.archives.iterdir())
    ]


def wrong(*words: str) -> Words:
    """A command whose argument is hostile, and which ends with an error that names it."""
    return lambda site: [[*words, ARGUMENT]]


def sealed(site: Site) -> Path:
    """The manifest of an encrypted copy whose archive has a hostile name."""
    name = "vzdump-qemu-108-2026_03_10-21_00_03.vma.zst"
    part = Segment(segment_name(name, 1), 250, "ab" * 32, 0, 0)
    made = SegmentManifest(f"nas:backup/\u202e[red]{name}", name, 0, "ab" * 32, ("a",), (part,))
    folder = site.shell.state / "sealed"
    folder.mkdir(exist_ok=True)
    (folder / part.file).write_bytes(b"x" * part.size)
    (folder / manifest_name(name)).write_bytes(made.text())
    return folder / manifest_name(name)


def put_back_of(site: Site) -> str:
    """The putting back of what stands in the hostile set."""
    when = ("--at", "20260310T210000Z", "--yes", "--json")
    _, out, _ = site.run("catalog", "config", "put-back", "108", *when)
    assert "operation" in json.loads(out), out
    return str(json.loads(out)["operation"])


def guest_disk(site: Site) -> str:
    """A disk whose partition, files and symlink have hostile names."""
    folder, disk = site.shell.state / "guest", site.shell.state / f"{STYLE}[red].raw"
    if not disk.exists():
        name = BAD.replace("/", "|")
        made.write_tree(folder, {name: b"x", "in/caf\udce9": b"x"})
        (folder / "link").symlink_to(BAD)
        made.partitioned(disk, "gpt", [made.ext(site.shell.state / "guest.ext4", folder)])
    return str(disk)


CASES: dict[str, Words] = {
    "archive acknowledge": lambda s: [
        ["archive", "acknowledge", s.volid, "--reason", ARGUMENT, "--dry-run"],
        ["archive", "acknowledge", ARGUMENT, "--reason", "x"],
    ],
    "archive decrypt": lambda s: [
        ["archive", "decrypt", str(sealed(s)), "--dry-run", "--output", str(s.archives / "o")],
        ["archive", "decrypt", str(sealed(s)), "--identity", ARGUMENT],
        ["archive", "decrypt", str(s.archives / "x")],
        ["archive", "decrypt", ARGUMENT],
    ],
    "archive extract": lambda s: [
        ["archive", "extract", str(f), str(s.archives / "out")]
        for f in sorted(s.archives.glob("vz*"))
    ],
    "archive copy-out": lambda s: [
        ["archive", "copy-out", guest_disk(s), "/", str(s.archives / "files"), "--dry-run"],
        ["archive", "copy-out", guest_disk(s), "/", str(s.archives / "files")],
        ["archive", "copy-out", guest_disk(s), "/link", str(s.archives / "files")],
        ["archive", "copy-out", guest_disk(s), ARGUMENT, ARGUMENT],
        ["archive", "copy-out", ARGUMENT, "/", "x"],
    ],
    "archive files": lambda s: [
        ["archive", "files", guest_disk(s)],
        ["archive", "files", guest_disk(s), "/"],
        ["archive", "files", guest_disk(s), "/", "--disk", ARGUMENT],
        ["archive", "files", guest_disk(s), "/", "--work-dir", ARGUMENT],
        ["archive", "files", guest_disk(s), ARGUMENT],
        *[["archive", "files", str(f), "/"] for f in sorted(s.archives.glob("vz*"))],
    ],
    "archive info": of_files("info"),
    "archive verify": lambda s: [
        ["archive", "verify", *map(str, sorted(s.archives.glob("vz*")))],
        ["archive", "verify", ARGUMENT],
    ],
    "backup run": lambda s: [
        ["backup", "run", "--vmid", "105"],
        ["backup", "run", "--dry-run"],
        ["backup", "run", ARGUMENT],
        ["backup", "run", "--vmid", "105", "--enqueue"],
    ],
    "catalog backup": lambda s: [
        ["catalog", "backup", "--dry-run"],
        ["catalog", "backup", "--to", ARGUMENT],
        ["catalog", "backup", "--output", ARGUMENT],
    ],
    "catalog config diff": lambda s: [
        ["catalog", "config", "diff", "20260309T200000Z", "latest"],
        ["catalog", "config", "diff", ARGUMENT, "latest"],
    ],
    "catalog config keep": lambda s: [
        ["catalog", "config", "keep", "--dry-run"],
        ["catalog", "config", "keep"],
        ["catalog", "config", "keep", "--to", ARGUMENT],
        ["catalog", "config", "keep", "--output", ARGUMENT],
    ],
    "catalog config list": lambda s: [["catalog", "config", "list"]],
    "catalog config put-back": lambda s: [
        ["catalog", "config", "put-back", "108", "--at", "20260310T210000Z", "--dry-run"],
        ["catalog", "config", "put-back", "108", "--at", "20260310T210000Z", "--yes"],
        ["catalog", "config", "put-back", "108", "--at", "20260310T200000Z", "--yes"],
        ["catalog", "config", "put-back", "108", "--as", "208", "--yes"],
        ["catalog", "config", "put-back", "108", "--at", ARGUMENT, "--yes"],
        ["catalog", "config", "put-back", ARGUMENT],
        ["operations", "show", put_back_of(s)],
    ],
    "catalog config show": lambda s: [
        ["catalog", "config", "show", "20260309T200000Z"],
        ["catalog", "config", "show", "20260309T200000Z", "guests/qemu-108.conf"],
        ["catalog", "config", "show", "20260309T200000Z", "hostile.cfg"],
        ["catalog", "config", "show", "20260309T200000Z", ARGUMENT],
        ["catalog", "config", "show", ARGUMENT],
    ],
    "catalog config surroundings": lambda s: [
        ["catalog", "config", "surroundings", "108"],
        ["catalog", "config", "surroundings", "108", "--at", "20260310T200000Z"],
        ["catalog", "config", "surroundings", "108", "--at", "20260310T210000Z"],
        ["catalog", "config", "surroundings", "108", "--node", ARGUMENT, "--as", "208"],
        ["catalog", "config", "surroundings", "108", "--at", ARGUMENT],
        ["catalog", "config", "surroundings", ARGUMENT],
    ],
    "catalog gaps": lambda s: [["catalog", "gaps"], ["catalog", "gaps", "--from", ARGUMENT]],
    "catalog lineage join": lambda s: [
        ["catalog", "lineage", "join", "108", ARGUMENT, ARGUMENT, "--reason", ARGUMENT],
    ],
    "catalog lineage list": lambda s: [
        ["catalog", "lineage", "list"],
        ["catalog", "lineage", "list", "--vmid", "108", "--offline"],
        ["catalog", "lineage", "list", "--vmid", ARGUMENT],
    ],
    "catalog lineage split": lambda s: [
        ["catalog", "lineage", "split", "108", ARGUMENT, "--reason", ARGUMENT],
        ["catalog", "lineage", "split", "108", s.volid, "--reason", ARGUMENT, "--dry-run"],
        ["catalog", "lineage", "split", "108", s.volid, "--reason", ARGUMENT],
        ["catalog", "lineage", "list"],
    ],
    "catalog list": lambda s: [["catalog", "list"], ["catalog", "list", "--offline"]],
    "catalog rebuild": lambda s: [
        ["catalog", "rebuild", "--dry-run"],
        ["catalog", "rebuild"],
    ],
    "catalog recheck": lambda s: [
        ["catalog", "recheck", "--dry-run", "--all"],
        ["catalog", "recheck", "--vmid", "108", "--all"],
        ["catalog", "recheck", "--vmid", ARGUMENT],
    ],
    "catalog show": lambda s: [
        ["catalog", "show", "108"],
        ["catalog", "show", s.volid],
        ["catalog", "show", ARGUMENT],
    ],
    "catalog sync": lambda s: [["catalog", "sync", "--dry-run"], ["catalog", "sync", "--accept"]],
    "catalog tombstones list": lambda s: [["catalog", "tombstones", "list"]],
    "catalog tombstones release": lambda s: [
        ["catalog", "tombstones", "release", "108", "--reason", ARGUMENT],
        ["catalog", "tombstones", "release", "108", "--reason", "x", "--chain", ARGUMENT],
    ],
    "copy list": lambda s: [["copy", "list"], ["copy", "list", "--vmid", "108"]],
    "copy recheck": lambda s: [
        ["copy", "recheck", "--all", "--dry-run"],
        ["copy", "recheck", "--all"],
        ["copy", "recheck", "--to", ARGUMENT],
        ["copy", "recheck", "--vmid", ARGUMENT],
    ],
    "copy rehearse": lambda s: [
        ["copy", "rehearse", "--to", ARGUMENT],
        ["copy", "rehearse", "--dry-run"],
        ["copy", "rehearse", "--identity", ARGUMENT],
    ],
    "copy run": lambda s: [
        ["copy", "run", "--dry-run"],
        ["copy", "run", "--vmid", "108"],
        ["copy", "run", "--to", ARGUMENT],
    ],
    "copy sync": lambda s: [
        ["copy", "sync"],
        ["copy", "sync", "--dry-run"],
        ["copy", "sync", "--to", ARGUMENT],
    ],
    "copy try-delete": lambda s: [
        ["copy", "try-delete"],
        ["copy", "try-delete", "--dry-run"],
        ["copy", "try-delete", "--to", ARGUMENT],
    ],
    "demo": wrong("demo", "--hypervisor"),
    "doctor": lambda s: [
        ["doctor"],
        ["doctor", "--role"],
        ["doctor", "--role", "--bridge", ARGUMENT],
    ],
    "ha status": lambda s: [["ha", "status"]],
    "ha failovers": lambda s: [["ha", "failovers"], ["ha", "failovers", "--since", ARGUMENT]],
    "lab cluster": wrong("lab", "cluster"),
    "lab down": wrong("lab", "down"),
    "lab status": lambda s: [["lab", "status"]],
    "lab up": wrong("lab", "up", "--hypervisor"),
    "operations cancel": lambda s: [
        ["operations", "cancel", s.ids[0], "--dry-run"],
        ["operations", "cancel", ARGUMENT],
    ],
    "operations list": lambda s: [
        ["operations", "list"],
        ["operations", "list", "--kind", ARGUMENT],
    ],
    "operations retry": lambda s: [
        *(["operations", "retry", id, "--dry-run"] for id in s.ids),
        ["operations", "retry", ARGUMENT],
    ],
    "operations undo": lambda s: [
        *(["operations", "undo", id, "--dry-run"] for id in s.ids),
        ["operations", "undo", ARGUMENT, "--confirm-name", ARGUMENT],
    ],
    "operations show": lambda s: [
        *all_shown(s),
        ["operations", "show", s.ids[-1], "--follow"],
        ["operations", "show", ARGUMENT],
    ],
    "policy check": lambda s: [["policy", "check"], ["policy", "check", ARGUMENT]],
    "policy next": lambda s: [["policy", "next"]],
    "policy show": lambda s: [["policy", "show"]],
    "gate": lambda s: [
        ["gate"],
        ["gate", "--vmid", "105", "--proven-within", "7d"],
        ["gate", "--node", ARGUMENT],
        ["gate", "--proven-within", ARGUMENT],
    ],
    "pra report": lambda s: [["pra", "report", "--output", str(s.archives / "report")]],
    "pra status": lambda s: [
        ["pra", "status"],
        ["pra", "status", "--language", "fr"],
        ["pra", "status", "--language", ARGUMENT],
    ],
    "prune": lambda s: [["prune", "--dry-run"], ["prune", "--vmid", "105"]],
    "restore": lambda s: [
        ["restore", "105", "--yes"],
        ["restore", "77", "--at", ARGUMENT, "--yes"],
        ["restore", "105", "--archive", ARGUMENT, "--yes"],
        ["restore", "105"],
        ["restore", "105", "--dry-run"],
        ["restore", "108", "--replace", "--accept-unchecked", "--dry-run"],
        ["restore", "105", "--replace", "--accept-unchecked", "--dry-run"],
        ["restore", "108", "--replace", "--confirm-name", ARGUMENT, "--accept-unchecked"],
        ["restore", "108", "--replace"],
    ],
    "recover": lambda s: [
        ["recover", "--node", "clovis", "--dry-run"],
        ["recover", "--node", "clovis", "--confirm", ARGUMENT],
        ["recover", "--node", ARGUMENT, "--dry-run"],
        ["recover", "--storage", "local-lvm", "--dry-run"],
        ["recover", "--storage", ARGUMENT, "--confirm", ARGUMENT],
    ],
    "restore-test": lambda s: [
        ["restore-test", "108"],
        ["restore-test", "108", "--dry-run"],
        ["restore-test", "105", "--enqueue"],
    ],
    "retention simulate": lambda s: [
        ["retention", "simulate", "-", "--keep", "keep-last=1"],
        ["retention", "simulate", "-", "--keep", "keep-last=1", "--table"],
        ["retention", "simulate", "-", "--keep", ARGUMENT],
    ],
    "break-glass export": lambda s: [
        ["break-glass", "export", "--output", str(s.archives)],
        ["break-glass", "export", "--output", ARGUMENT],
        ["break-glass", "export", "--to", ARGUMENT],
    ],
    "break-glass open": lambda s: [
        [
            "break-glass",
            "open",
            *map(str, s.archives.glob("*break-glass*")),
            str(s.archives / "new"),
        ],
        ["break-glass", "open", ARGUMENT, str(s.archives / "other")],
        ["break-glass", "open", str(s.archives), ARGUMENT],
    ],
    "break-glass rehearse": lambda s: [
        ["break-glass", "rehearse"],
        ["break-glass", "rehearse", "--dry-run"],
        ["break-glass", "rehearse", "--to", ARGUMENT],
        ["break-glass", "rehearse", "--identity", ARGUMENT],
    ],
    "ha drill": lambda s: [
        ["ha", "drill", "108", "--dry-run"],
        ["ha", "drill", "105", "--yes"],
        ["ha", "drill", "108", "--to", ARGUMENT, "--yes"],
        ["ha", "drill", ARGUMENT],
        ["ha", "drill", "--on-lab", "--to", ARGUMENT],
    ],
    "what-if": lambda s: [
        ["what-if", "--node", "clovis"],
        ["what-if", "--site"],
        ["what-if", "--node", ARGUMENT],
        ["what-if", "--storage", ARGUMENT],
    ],
    "serve": lambda s: [
        ["serve", "--check", "--queue", ARGUMENT],
        ["serve", "--check", "--listen", str(s.archives / "no.sock")],
    ],
}
LISTING = json.dumps(
    [
        {"volid": f"local:backup/vzdump-qemu-108-2026_03_0{n}-21_00_02.vma.zst{BAD}", "ctime": n}
        for n in (1, 2)
    ]
)
REACHED = (
    "archive acknowledge",
    "archive copy-out",
    "archive files",
    "archive info",
    "backup run",
    "catalog config diff",
    "catalog config put-back",
    "catalog config show",
    "catalog config surroundings",
    "catalog list",
    "catalog show",
    "operations show",
    "policy check",
    "gate",
    "what-if",
    "recover",
    "ha drill",
    "ha failovers",
    "ha status",
    "pra status",
    "doctor",
)


def cases(name: str, site: Site) -> Sequence[Sequence[str]]:
    if name.startswith("lab fault "):
        return [[*name.split(), ARGUMENT]]
    return CASES[name](site)


@pytest.mark.parametrize("name", sorted(TREE))
def test_no_command_passes_anything_to_the_terminal_that_acts_on_it(site: Site, name: str) -> None:
    said = ""
    for words in cases(name, site):
        _, out, err = site.run(*words, stdin=LISTING.encode())
        assert "Traceback" not in err, err
        assert not acting(out + err), (
            words,
            sorted(map(ascii, acting(out + err))),
            ascii(out + err),
        )
        assert not NOTATION.search(out + err), (words, NOTATION.search(out + err), out + err)
        assert not [line for line in (out + err).splitlines() if line.startswith(FORGED)], (
            f"{words} let a text begin a line"
        )
        said += out + err
    if name in REACHED:
        assert r"\x1b[35;45m" in said, (
            f"no hostile text reached {name}: the test proves nothing\n{said}"
        )


@pytest.mark.parametrize(
    "name", sorted(name for name in TREE if any("--json" in o.opts for o in TREE[name].params))
)
def test_what_a_command_answers_in_json_is_valid_and_acts_on_no_terminal_either(
    site: Site, name: str
) -> None:
    for words in cases(name, site):
        code, out, err = site.run(*words, "--json")
        assert not acting(out + err), (words, sorted(map(ascii, acting(out + err))))
        if code != 2 or out:
            strict(out)


def strict(text: str) -> Any:
    """Read JSON as the strictest readers do: no NaN, and nothing that is not Unicode."""

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    value = json.loads(text, parse_constant=no_constant)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def on_a_terminal(site: Site, *words: str) -> str:
    """Run a command on a terminal of its own, and return every character that it sent there."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(
            sys.executable,
            [sys.executable, "-m", "backupsvc", *words],
            site.env(TERM="xterm-256color", LINES="50", COLUMNS="1000"),
        )
    sent = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # its other end is closed
            break
        if not piece:
            break
        sent += piece
    os.close(terminal)
    os.waitpid(pid, 0)
    return sent.decode()


@pytest.mark.parametrize(
    "words",
    [
        ("pra", "status"),
        ("catalog", "list"),
        ("operations", "list"),
        ("backup", "run", "--vmid", "101"),
        ("doctor",),
    ],
)
def test_on_a_terminal_only_our_own_styles_act(site: Site, words: tuple[str, ...]) -> None:
    sent = on_a_terminal(site, *words)
    assert STYLE not in sent and "\x1b]" not in sent
    assert not acting(OWN_STYLE.sub("", sent)) - {"\r"}, ascii(sent)
    assert "\x1b[" in sent, "this is no terminal: nothing is styled"
    assert "[red]" in re.sub(r"\s|│", "", OWN_STYLE.sub("", sent)) or words == (
        "operations",
        "list",
    )


def test_the_report_shows_what_is_hidden_and_lets_nothing_run(site: Site, tmp_path: Path) -> None:
    site.run("pra", "report", "--output", str(tmp_path), "--language", "en")
    page, data = (
        next(tmp_path.glob(f"*.{kind}")).read_text(encoding="utf-8") for kind in ("html", "json")
    )
    assert not acting(page) and not acting(data)
    assert "&lt;" not in page.split("[red]")[0][-3:] and r"\x1b[35;45m" in page
    strict(data)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_the_shell_is_offered_acts_neither_on_it_nor_on_the_terminal(
    site: Site, shell: str
) -> None:
    _, out, err = site.run(
        _BACKUPSVC_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
        _TYPER_COMPLETE_WORD_TO_COMPLETE="",
        _TYPER_COMPLETE_ARGS="backupsvc restore ",
        COMP_WORDS="backupsvc restore ",
        COMP_CWORD="2",
    )
    assert "108" in out and not acting(out + err)
    assert not [line for line in out.splitlines() if line.startswith("guest 666")]
