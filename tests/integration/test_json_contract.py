"""What every command owes to programs: ``--json`` or ``--dry-run`` by what it does, one object with
its schema, plain keys.

The answers of a modelled lab are written down in docs/json.md, by their keys and kinds of values;
``WRITE_GOLDEN=1`` writes that
page anew, to be read: a key that goes, or means something else, raises the version.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyrage import x25519
from typer.main import get_command

from backupsvc.catalog import Catalog
from backupsvc.cli.app import build
from backupsvc.copies.config_sets import FOLDER, pack
from backupsvc.copies.snapshots import CONFIG, name_at
from policies.cluster_config import ConfigSet
from policies.model import DiskSigns, Suspicion, SuspicionKind
from pvelab.accident import delete_guest
from tests.commands import Shell, settle_briefly
from tests.integration.administrator import disable_pve_job
from tests.integration.test_ha_drill import allowed, grant, replicated
from tests.unit.archives.filesystems import made

pytestmark = [pytest.mark.slow, pytest.mark.long(600)]
LANGEO = Path(__file__).parents[2] / "policies" / "sites" / "langeo.yaml"
PAGE = Path(__file__).parents[2] / "docs" / "json.md"
NODE, LOST = "clovis", 107

CHANGES = {
    "archive acknowledge",
    "archive copy-out",
    "archive decrypt",
    "archive extract",
    "backup run",
    "break-glass export",
    "break-glass open",
    "break-glass rehearse",
    "catalog backup",
    "catalog config keep",
    "catalog config put-back",
    "catalog lineage join",
    "catalog lineage split",
    "catalog rebuild",
    "catalog recheck",
    "catalog sync",
    "catalog tombstones release",
    "copy recheck",
    "copy rehearse",
    "copy run",
    "copy sync",
    "copy try-delete",
    "ha drill",
    "operations cancel",
    "operations retry",
    "operations undo",
    "pra report",
    "prune",
    "recover",
    "restore",
    "restore-test",
}
# what is no question and changes nothing outside the lab, or runs until it is stopped
WITHOUT_DRY_RUN = {"demo", "serve"}
WITHOUT_JSON = {"demo"}
ASKED_ELSEWHERE = {"serve"}  # its answer needs one that runs: test_serve
# whatever is broken, the answer tells of one fault
ONE_SHAPE = re.compile(r"lab fault (?!list$|clear$|storage-full$)")
# objects whose keys are names, paths or options of PVE, or what an operation remembers: their keys
# are no part of the shape
OPEN = {
    "api",
    "configs",
    "data",
    "detail",
    "drift",
    "grants",
    "nics",
    "overrides",
    "ports",
    "settings",
    "objectives",
    "votes",
}


def commands(command: Any = None, path: tuple[str, ...] = ()) -> dict[str, set[str]]:
    """Every command by its words, with its options."""
    command = command or get_command(build())
    if not hasattr(command, "commands"):
        return {" ".join(path): {word for param in command.params for word in param.opts}}
    found: dict[str, set[str]] = {}
    for name, inner in command.commands.items():
        found |= commands(inner, (*path, name))
    return found


TREE = commands()


def test_every_command_that_changes_something_shows_first_what_it_would_do() -> None:
    lab = {name for name in TREE if name.startswith("lab ")}
    offered = {name for name, options in TREE.items() if "--dry-run" in options}
    assert offered == CHANGES and set(TREE) >= CHANGES
    assert not offered & (lab | WITHOUT_DRY_RUN)


def test_every_command_answers_programs() -> None:
    assert {name for name, options in TREE.items() if "--json" not in options} == WITHOUT_JSON


class Asked:
    """A modelled lab that is asked everything once, and the answers by their schemas."""

    def __init__(self, shell: Shell) -> None:
        self.shell, self.answers, self.asked = shell, dict[str, list[dict[str, Any]]](), set[str]()

    def __call__(self, *words: object, policy: Path | None = None) -> dict[str, Any]:
        env = {"BACKUPSVC_POLICY": str(policy)} if policy else {}
        told = Shell(self.shell.state, self.shell.env | env)(*words, "--json")
        answer: dict[str, Any] = json.loads(told.out)
        assert next(iter(answer)) == "schema", told.out
        self.answers.setdefault(answer["schema"], []).append(answer)
        name = str(answer["schema"]).rpartition("/")[0].removesuffix(" --dry-run")
        assert [*map(str, words)][: len(name.split())] == name.split() or name == "error", (
            words,
            name,
        )
        self.asked.add(name)
        return answer

    def everything(self) -> None:
        words: tuple[object, ...]
        state, lab = self.shell.state, self.shell.state / "lab"
        self("lab", "up", "--hypervisor", "simulated")
        settle_briefly(state)
        disable_pve_job(state)
        for words in (
            ("status",),
            ("cluster",),
            ("fault", "storage-full", f"{NODE}/local-lvm"),
            ("fault", "list"),
            ("fault", "clear"),
        ):
            self("lab", *words)
        self("backup", "run", "--dry-run")
        archive = self("backup", "run", "--vmid", 108, "--vmid", LOST)["guests"][0]["archive"][
            "volid"
        ]
        for words in (("list",), ("gaps",), ("sync", "--dry-run"), ("sync",), ("show", 108)):
            self("catalog", *words)
        self("catalog", "show", archive)
        self._acknowledged(archive)
        self("catalog", "rebuild", "--dry-run")
        self("catalog", "rebuild")
        self("catalog", "recheck", "--all", "--dry-run")
        self("catalog", "recheck", "--vmid", 108, "--all")
        self._copies()
        for words in (
            ("restore-test", 108, "--dry-run"),
            ("restore-test", 108),
            ("prune", "--dry-run"),
            ("prune",),
        ):
            self(*words)
        delete_guest(lab, NODE, LOST)
        self("catalog", "config", "surroundings", LOST)
        self("catalog", "config", "surroundings", 4711)
        self("catalog", "tombstones", "list")
        for words in (("--dry-run",), ()):
            self("catalog", "tombstones", "release", LOST, "--reason", "retired", *words)
        self("restore", LOST, "--dry-run")
        self("restore", 108, "--as", 208, "--clone", "--dry-run")
        self("restore", 108, "--dry-run")
        self("restore", LOST, "--surroundings")
        for words in (("--dry-run",), ()):
            self("catalog", "config", "put-back", LOST, *words)
        replacing = ("restore", LOST, "--replace", "--as", 209, "--accept-unchecked")
        name = self(*replacing, "--dry-run")["replaces"]["type"]
        done = self(*replacing, "--confirm-name", name)["operation"]
        for words in (("--dry-run",), ("--confirm-name", name)):
            self("operations", "undo", done, *words)
        delete_guest(lab, NODE, 209)
        for words in (
            ("doctor",),
            ("pra", "status"),
            ("gate", "--node", NODE),
            ("what-if", "--node", NODE),
            ("ha", "status"),
            ("ha", "failovers"),
            ("policy", "check"),
            ("policy", "show"),
            ("policy", "next"),
        ):
            self(*words)
        self("pra", "report", "--output", state / "report", "--dry-run")
        self("pra", "report", "--output", state / "report")
        self._lineages()
        self._operations()
        self._files(next((lab / "nodes" / NODE / "var" / "lib" / "vz" / "dump").glob("*.vma.zst")))
        self("restore", LOST)  # which exists by now: an error is an answer too
        self._drill()
        self("recover", "--node", NODE, "--dry-run")
        self("recover", "--storage", "local-lvm", "--dry-run")
        self("lab", "fault", "node-death", NODE)
        self("recover", "--node", NODE, "--confirm", f"{NODE} is off", "--no-wait")
        self("lab", "down")

    def _drill(self) -> None:
        self("ha", "drill", "--on-lab", "--dry-run")
        self("ha", "drill", "--on-lab")
        self("ha", "drill", 108, "--dry-run")
        replicated(self.shell)
        allowed(self.shell)
        grant(self.shell)
        self("ha", "drill", 108, "--dry-run")
        self("ha", "drill", 108, "--relocate")
        self("ha", "status")

    def _copies(self) -> None:
        folder, site = self.shell.state / "usb", self.shell.state / "copies.yaml"
        folder.mkdir()
        usb = f"{{kind: directory, path: {folder}, immutable: true}}"
        kit, key = self.shell.state / "kit.txt", x25519.Identity.generate()
        kit.write_text(f"{key}\n", encoding="ascii")
        (self.shell.state / "sealed").mkdir()
        sealed = f"{{kind: directory, path: {self.shell.state / 'sealed'}, encrypt: age, "
        sealed += f"recipients: [{key.to_public()}]}}"
        text = LANGEO.read_text(encoding="utf-8")
        site.write_text(f"{text}\ncopies: {{usb: {usb}, sealed: {sealed}}}\n")
        for words in (
            ("run", "--vmid", 108, "--dry-run"),
            ("run", "--vmid", 108),
            ("list",),
            ("recheck", "--all", "--dry-run"),
            ("recheck", "--all"),
            ("rehearse", "--dry-run"),
            ("rehearse", "--identity", kit),
            ("list",),
            ("sync", "--dry-run"),
            ("sync",),
            ("try-delete", "--dry-run"),
            ("try-delete",),
        ):
            self("copy", *words, policy=site)
        self("catalog", "backup", "--dry-run", policy=site)
        self("catalog", "backup", policy=site)
        self("catalog", "config", "keep", "--dry-run", policy=site)
        self("catalog", "config", "keep", policy=site)
        self("catalog", "config", "list", policy=site)
        self("catalog", "config", "show", "latest", policy=site)
        self("catalog", "config", "show", "latest", "guests/qemu-108.conf", policy=site)
        self("break-glass", "export", "--dry-run", policy=site)
        self("break-glass", "export", policy=site)
        self("break-glass", "rehearse", "--dry-run", policy=site)
        self("break-glass", "rehearse", policy=site)
        made = self("break-glass", "export", "--output", self.shell.state, policy=site)
        bundle = self.shell.state / made["bundles"][0]["file"]
        opening = ("break-glass", "open", bundle, self.shell.state / "new")
        self(*opening, "--dry-run")
        self(*opening)
        before = self._older_config()
        self("catalog", "config", "diff", before, "latest", policy=site)

    def _acknowledged(self, volid: str) -> None:
        """An archive that is suspicious, with another one after it that is usual beside it."""
        alarm = Suspicion(SuspicionKind.SEALED, "drive-scsi0", 0.1, 0.9, "local:backup/x")
        with Catalog.open(f"sqlite:///{self.shell.state / 'lab' / 'catalog.db'}") as catalog:
            [found] = catalog.archive_signs.named(volid)
            later = replace(found, volid=f"{volid}.later", ctime=found.ctime + 1)
            catalog.archives.observe([later], scope=[], at=later.ctime)
            disk = DiskSigns("drive-scsi0", 1, 1, 4, 5.0, {1: 1})
            for one in (found, later):
                sha256 = found.sha256 if one is found and found.sha256 else "ab" * 32
                catalog.archive_signs.record(
                    one.node, one.volid, [disk], sha256=sha256, size=one.size, at=later.ctime
                )
                catalog.archive_signs.mark({(one.node, one.volid): [alarm]})
        self("catalog", "show", volid)
        words = ("archive", "acknowledge", volid, "--reason", "encrypted on purpose")
        self(*words, "--dry-run")
        self(*words)
        self("catalog", "show", volid)
        # no storage lists it
        with Catalog.open(f"sqlite:///{self.shell.state / 'lab' / 'catalog.db'}") as catalog:
            catalog.archives.mark_gone(later.node, later.volid, later.ctime)

    def _older_config(self) -> str:
        """A set of an earlier day, on which little of all was read, and its time."""
        files = {"guests/qemu-108.conf": "cores: 1\n", "storage.cfg": "dir: gone\n"}
        kept = ConfigSet(
            files, dict.fromkeys(("jobs.cfg", "firewall/rules.cfg", "guests.cfg"), "no right")
        )
        name = name_at(0, "tar", CONFIG)
        (self.shell.state / FOLDER / name).write_bytes(pack(kept))
        return "19700101T000000Z"

    def _lineages(self) -> None:
        volid = self("backup", "run", "--vmid", 108)["guests"][0]["archive"]["volid"]
        for words in (("--dry-run",), ()):
            self("catalog", "lineage", "split", 108, volid, "--reason", "a new disk", *words)
        found = self("catalog", "lineage", "list", "--vmid", 108)["guests"][0]["chains"]
        both = [one["name"] for one in found]
        for words in (("--dry-run",), ()):
            self("catalog", "lineage", "join", 108, *both, "--reason", "the same", *words)
        self("catalog", "lineage", "list")

    def _operations(self) -> None:
        self("operations", "list")
        left = self("backup", "run", "--vmid", 108, "--enqueue")["operations"][0]["id"]
        self("gate", "--vmid", 108)
        for words in (
            ("cancel", left, "--dry-run"),
            ("cancel", left),
            ("show", left),
            ("retry", left, "--dry-run"),
            ("retry", left),
        ):
            self("operations", *words)

    def _of_a_guest(self) -> None:
        """A disk of which something is copied, renamed, left out, and cannot be copied."""
        source = made.write_tree(self.shell.state / "guest", {"etc/hosts": b"x", "etc/a\x1b": b"x"})
        (source / "etc" / "link").symlink_to("hosts")
        taken = self.shell.state / "taken"
        made.write_tree(source, {"etc/a\\x1b": b"y"})
        disk = made.ext(self.shell.state / "drive-scsi0.raw", source)
        self("archive", "files", disk)
        self("archive", "files", disk, "/etc")
        self("archive", "copy-out", disk, "/etc", taken, "--dry-run")
        self("archive", "copy-out", disk, "/etc", taken)

    def _files(self, archive: Path) -> None:
        target = self.shell.state / "disks"
        for words in (
            ("verify", archive),
            ("info", archive),
            ("files", archive),
            ("extract", archive, target, "--dry-run"),
            ("extract", archive, target),
        ):
            self("archive", *words)
        self._of_a_guest()
        manifest = next((self.shell.state / "sealed").glob("*.age.json"))
        decrypt = ("archive", "decrypt", manifest, "--output", self.shell.state / "decrypted")
        self(*decrypt, "--dry-run")
        self(*decrypt, "--identity", self.shell.state / "kit.txt")
        listed = self.shell.state / "listed.json"
        listed.write_text(
            json.dumps(
                [
                    {
                        "volid": "local:backup/vzdump-qemu-108-2026_03_09-21_00_02.vma.zst",
                        "ctime": 1,
                        "vmid": 108,
                    }
                ]
            )
        )
        self("retention", "simulate", listed, "--keep", "keep-last=1")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    shell = Shell(tmp_path_factory.mktemp("json"))
    made = Asked(shell)
    try:
        made.everything()
        yield made
    finally:
        shell("lab", "down")


def test_every_command_was_asked(asked: Asked) -> None:
    assert {
        name for name in TREE if not ONE_SHAPE.match(name)
    } - WITHOUT_JSON - ASKED_ELSEWHERE <= asked.asked
    assert {f"{name} --dry-run/1" for name in CHANGES} <= set(asked.answers)


def test_the_documents_own_failover_test_comes_out_as_its_cluster_allows(asked: Asked) -> None:
    (told,) = asked.answers["ha drill --on-lab/1"]
    scenes = {(one["third_vote"], one["replicated"]): one for one in told["scenes"]}
    assert told["as_expected"] is True and len(scenes) == 4, told
    for lost in (scenes[False, False], scenes[False, True]):
        assert (lost["quorate"], lost["node"], lost["log"]) == (False, "clovis", None)
        assert "no quorum" in lost["why"]
    vain, back = scenes[True, False], scenes[True, True]
    assert (vain["state"], vain["node"], vain["answered"]) == ("error", "lge-pve02", False)
    assert len(vain["failed_starts"]) == 4 and "no such volume" in vain["why"]
    assert (vain["log"]["target"], vain["log"]["started"]) == ("lge-pve02", None)
    assert (back["node"], back["state"], back["failed_starts"]) == ("lge-pve02", "started", [])
    assert 0 < back["log"]["at_least_seconds"] <= back["answered_seconds"] + 2


def test_every_key_is_a_plain_word(asked: Asked) -> None:
    assert not [
        f"{schema}: {path}"
        for schema, found in asked.answers.items()
        for one in found
        for path in keys(one)
        if odd(path)
    ]


def test_the_page_tells_every_answer(asked: Asked) -> None:
    page = written(asked.answers)
    if os.environ.get("WRITE_GOLDEN"):
        PAGE.write_text(page, encoding="utf-8")
    assert page == PAGE.read_text(encoding="utf-8")


# --- shapes ---------------------------------------------------------------------------------------


def keys(value: Any, path: str = "") -> Iterator[str]:
    """Every key below a value, as ``guests[].archive.volid``; nothing of what lies in objects with
    open keys.
    """
    if isinstance(value, list):
        for item in value:
            yield from keys(item, f"{path}[]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}.{key}".lstrip(".")
            if key not in OPEN:
                yield from keys(item, f"{path}.{key}")


def odd(path: str) -> bool:
    return not re.fullmatch(r"[a-z][a-z0-9_]*(\[\])*", path.rpartition(".")[2])


def kinds(value: Any, path: str, found: dict[str, set[str]]) -> None:
    """Collect, for each key below a value, of what kinds its values are."""
    if isinstance(value, dict):
        for key, item in value.items():
            here = f"{path}.{key}".lstrip(".")
            found.setdefault(here, set()).add(
                "open object" if key in OPEN and isinstance(item, dict) else kind(item)
            )
            if key not in OPEN:
                kinds(item, here, found)
    elif isinstance(value, list):
        for item in value:
            kinds(item, f"{path}[]", found)


def kind(value: Any) -> str:
    names = {
        bool: "true or false",
        int: "number",
        float: "number",
        str: "text",
        list: "list",
        dict: "object",
        type(None): "null",
    }
    if isinstance(value, list) and value and not isinstance(value[0], dict | list):
        return f"list of {kind(value[0])}"
    return names[type(value)]


def written(answers: dict[str, list[dict[str, Any]]]) -> str:
    """Return the page."""
    lines = [HEAD]
    for schema in sorted(answers):
        found: dict[str, set[str]] = {}
        for answer in answers[schema]:
            kinds(answer, "", found)
        lines += ["", f"## `{schema}`", "", "| key | is |", "|---|---|"]
        lines += [
            f"| `{key}` | {' or '.join(sorted(of))} |"
            for key, of in found.items()
            if key != "schema"
        ]
    return "\n".join(lines) + "\n"


HEAD = """# JSON

Every command that answers takes `--json` and prints one object. Its first key, `schema`, names the command and the version
of the shape; what a command would do has a shape of its own (`--dry-run`). The version is raised when a key goes or comes to
mean something else; a key that is added raises nothing, so read what you know and leave the rest.

Times are ISO 8601 in UTC, or whole epoch seconds where the key says `ctime` or `at`; durations are seconds, sizes bytes.
`null` is not known, or does not apply. The keys of an open object are names, paths or options of Proxmox VE, or what an
operation remembers: they are no part of the shape. Where a command cannot answer it prints `error/1` and ends with the exit
code that stands in it.

Written by `WRITE_GOLDEN=1` and `tests/integration/test_json_contract.py` from the answers of a modelled lab; do not change
it by hand."""
