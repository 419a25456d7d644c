"""What a cell is, and how the world is arranged for it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from backports import zstd

from pvelab.guests import power
from pvelab.guests.vma_format import HEAD, Header, pack_header, unpack_header
from pvelab.kernel import ROUTES, Answer
from pvelab.nodes_life import kill_node, revive_node
from tests.lab.false_proof.stage import POLICY, SCRATCH, Moment, Stage

HOME, OTHER = "clovis", "lge-pve02"
RESTORE_CALL, START_CALL = "/nodes/*/qemu", "/nodes/*/qemu/90??/status/start"
RESTORING = "/nodes/*/tasks/*:qmrestore:*/status"
Words = tuple[object, ...]
Arrangement = Callable[[Stage], AbstractContextManager[Words]]
_later = itertools.count(1)


@dataclass(frozen=True)
class Cell:
    """One way to a false proof: the guest, how the world is arranged, and what must come of its
    restore test.

    ``cause`` None: nobody is to blame. ``says`` stands in the reasons or in the error.
    """

    name: str
    vmid: int
    arrange: Arrangement
    verdict: str
    cause: str | None
    code: int
    says: str


# --- the archive ----------------------------------------------------------------------------------


def forged(
    change: Callable[[Stage, bytes], bytes], *, recorded: bool = False, of: int | None = None
) -> Arrangement:
    """An archive that is the guest's own, or that of guest ``of``, with changed bytes, named as the
    guest's newest.

    ``recorded``: it lay there unchanged when the catalog first saw it.
    """

    @contextmanager
    def arranged(stage: Stage, vmid: int) -> Iterator[Words]:
        real = stage.archive(vmid)
        source, own = stage.dump(stage.archive(of or vmid)["volid"]), stage.dump(real["volid"])
        when = time.localtime(real["ctime"] + 60 * next(_later))
        path = own.with_name(
            f"vzdump-qemu-{vmid}-{time.strftime('%Y_%m_%d-%H_%M_%S', when)}.vma.zst"
        )
        if recorded:
            path.write_bytes(own.read_bytes())
            assert stage.shell("catalog", "sync").code == 0
        path.write_bytes(change(stage, source.read_bytes()))
        try:
            if not recorded:
                assert stage.shell("catalog", "sync").code == 0
            yield ("--archive", f"local:backup/{path.name}")
        finally:
            path.unlink(missing_ok=True)
            stage.shell("catalog", "sync")

    return _of_cell(arranged)


def truncated(stage: Stage, content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def flipped(stage: Stage, content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]


def compressed_anew(stage: Stage, content: bytes) -> bytes:
    """The same data in other bytes: good in itself, and not what was recorded."""
    options: dict[int, int] = {
        zstd.CompressionParameter.checksum_flag: 1,
        zstd.CompressionParameter.compression_level: 1,
    }
    return zstd.compress(zstd.decompress(content), options=options)


def as_it_is(stage: Stage, content: bytes) -> bytes:
    return content


def with_config(edit: Callable[[str], str | None]) -> Callable[[Stage, bytes], bytes]:
    """Another configuration in the archive's header, None for none at all."""

    def change(stage: Stage, content: bytes) -> bytes:
        raw = zstd.decompress(content)
        size = HEAD.unpack_from(raw)[-1]
        header = unpack_header(raw[:size])
        configs = dict(header.configs)
        text = edit(configs.pop("qemu-server.conf").decode())
        if text is not None:
            configs["qemu-server.conf"] = text.encode()
        fresh = pack_header(Header(header.uuid, header.ctime, configs, header.devices))
        return zstd.compress(
            fresh + raw[size:], options={zstd.CompressionParameter.checksum_flag: 1}
        )

    return change


def line_added(line: str) -> Callable[[str], str]:
    return lambda text: f"{text}{line}\n"


def without_disks(text: str) -> str:
    return "".join(
        f"{line}\n"
        for line in text.splitlines()
        if not line.startswith(("scsi", "#qmdump", "boot"))
    )


# --- the network ----------------------------------------------------------------------------------


def network(**changed: Any) -> Arrangement:
    """Every node says of the isolated bridge what is given here."""
    return _network(lambda: True, changed)


def network_later(at: tuple[str, str], **changed: Any) -> Arrangement:
    """Every node says of the isolated bridge what is given here, from a call of the restore test
    on.
    """
    begun: list[bool] = []

    @contextmanager
    def arranged(stage: Stage) -> Iterator[Words]:
        stage.moments.append(Moment(*at, lambda: begun.append(True), after=True))
        with _network(lambda: bool(begun), changed)(stage) as words:
            yield words

    return arranged


def _network(when: Callable[[], bool], changed: dict[str, Any]) -> Arrangement:
    @contextmanager
    def arranged(stage: Stage) -> Iterator[Words]:
        place = ("GET", "/nodes/{node}/network")
        real = ROUTES[place]

        def told(call: Any) -> Any:
            rows = real(call)
            if not when():
                return rows
            beside = {"changes": changed["changes"]} if "changes" in changed else {}
            rows = [
                {**row, **changed} if row["iface"] == "vmbr9" else row
                for row in rows
                if not _gone(row, changed)
            ]
            return Answer(rows + changed.get("more", []), **beside)

        ROUTES[place] = told
        try:
            yield ()
        finally:
            ROUTES[place] = real

    return arranged


def _gone(row: dict[str, Any], changed: dict[str, Any]) -> bool:
    return bool(changed.get("gone")) and row["iface"] == "vmbr9"


def policy(edit: Callable[[str], str]) -> Arrangement:
    """Another policy."""

    @contextmanager
    def arranged(stage: Stage) -> Iterator[Words]:
        path = stage.shell.state / "policy.yaml"
        path.write_text(edit(POLICY), encoding="utf-8")
        try:
            yield ()
        finally:
            path.write_text(POLICY, encoding="utf-8")

    return arranged


# --- the copy's life ------------------------------------------------------------------------------


def fault(kind: str, *words: object) -> Arrangement:
    """A fault of the lab is set."""

    @contextmanager
    def arranged(stage: Stage) -> Iterator[Words]:
        assert stage.shell("lab", "fault", kind, *words).code == 0
        try:
            yield ()
        finally:
            stage.shell("lab", "fault", "clear")

    return arranged


def no_probe(stage: Stage) -> AbstractContextManager[Words]:
    """The probe cannot be reached."""

    @contextmanager
    def arranged() -> Iterator[Words]:
        stage.shell.env["BACKUPSVC_PROBES__CLOVIS__HOST"] = "127.0.0.1:1"
        try:
            yield ()
        finally:
            del stage.shell.env["BACKUPSVC_PROBES__CLOVIS__HOST"]

    return arranged()


# --- the platform ---------------------------------------------------------------------------------


def at(
    method: str,
    path: str,
    act: Callable[[Stage], object],
    undo: Callable[[Stage], object],
    *,
    after: bool = False,
    when: Callable[[Stage], bool] = lambda stage: True,
) -> Arrangement:
    """Something happens at the first such call of the restore test at which ``when`` holds."""

    @contextmanager
    def arranged(stage: Stage) -> Iterator[Words]:
        moment = Moment(method, path, lambda: act(stage), after, when=lambda: when(stage))
        stage.moments.append(moment)
        try:
            yield ()
            assert moment.passed, f"{method} {path} was never called"
        finally:
            undo(stage)

    return arranged


def both(*arrangements: Arrangement) -> Arrangement:
    """Several arrangements at once."""

    @contextmanager
    def arranged(stage: Stage) -> Iterator[Words]:
        if not arrangements:
            yield ()
            return
        with arrangements[0](stage) as first, both(*arrangements[1:])(stage) as rest:
            yield (*first, *rest)

    return arranged


def foreign_guest(stage: Stage) -> None:
    """Somebody makes a guest under the VMID that the copy was to have."""
    stage.lab.guests.create(HOME, 9000, {"name": "somebody-elses", "memory": "128"})


def foreign_guest_removed(stage: Stage) -> None:
    vm = stage.lab.guests.get(9000)
    assert vm is not None and vm.config["name"] == "somebody-elses", (
        "a guest that is not ours was destroyed (law 1)"
    )
    stage.lab.guests.remove(9000)


def other_node_dies(stage: Stage) -> None:
    kill_node(stage.lab, OTHER)


def other_node_returns(stage: Stage) -> None:
    revive_node(stage.lab, OTHER)


def copy_switched_off(stage: Stage) -> None:
    power.switch_off(stage.lab, 9000)


def task_stopped(stage: Stage) -> None:
    """An administrator stops the restore."""
    for upid in stage.lab.tasks.running():
        if upid.type == "qmrestore":
            stage.lab.tasks.stop(upid.text)


def database_emptied(stage: Stage) -> None:
    """The copy's data disk holds nothing."""
    for path in stage.lab.dir.glob("nodes/*/dev/pve/vm-90*-disk-1"):
        size = path.stat().st_size
        path.write_bytes(b"")
        os.truncate(path, size)


@contextmanager
def backed_up_without_disk(stage: Stage) -> Iterator[Words]:
    """The guest's data disk is excluded from its backup."""
    vm = stage.lab.guests.need(HOME, 105)
    kept = dict(vm.config)
    vm.config["scsi1"] += ",backup=0"
    stage.lab.guests.save(vm)
    try:
        made = stage.shell("backup", "run", "--vmid", 105, "--json")
        volid = made.json["guests"][0]["archive"]["volid"]
    finally:
        vm.config = kept
        stage.lab.guests.save(vm)
    try:
        yield ("--archive", volid)
    finally:
        stage.dump(volid).unlink()
        stage.shell("catalog", "sync")


@contextmanager
def ha_has_the_vmids(stage: Stage) -> Iterator[Words]:
    """Somebody once made HA resources of the scratch VMIDs: HA would start each copy as soon as it
    is there.
    """
    stage.lab.ha.resources.update({f"vm:{vmid}": {"state": "started"} for vmid in SCRATCH})
    try:
        yield ()
    finally:
        stage.lab.ha.resources.clear()


def nothing(stage: Stage) -> None:
    """Nothing needs to be undone."""


def clock_set(seconds: int) -> Arrangement:
    """The wall clock of the service's machine is set in the middle of the test."""

    @contextmanager
    def arranged(stage: Stage) -> Iterator[Words]:
        offset = stage.shell.state / "offset"
        offset.unlink(missing_ok=True)
        stage.moments.append(Moment("POST", START_CALL, lambda: offset.write_text(str(seconds))))
        yield ("clock", offset)
        offset.unlink(missing_ok=True)

    return arranged


def _of_cell(arranged: Callable[[Stage, int], AbstractContextManager[Words]]) -> Arrangement:
    """An arrangement that must know its cell's guest: ``Cell.arrange`` is bound to it by
    ``for_guest``.
    """
    arranged.needs_vmid = True  # type: ignore[attr-defined]
    return arranged  # type: ignore[return-value]


def for_guest(cell: Cell) -> Arrangement:
    """Given a cell, return its arrangement, bound to its guest where that is needed."""
    if getattr(cell.arrange, "needs_vmid", False):
        return lambda stage: cell.arrange(stage, cell.vmid)  # type: ignore[call-arg]
    return cell.arrange
