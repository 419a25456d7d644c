"""The good archives that mutants are made from: those of Proxmox's own tool, and small ones with
all that the formats know.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backports.zstd import decompress

from tests.unit.archives.build import BLOCK, CLUSTER, Vma, pattern

SAMPLES = Path(__file__).parents[1] / "golden" / "vma_samples"
VM, CT = "vzdump-qemu-108-2026_03_09-21_00_02.vma", "vzdump-lxc-200-2026_03_09-21_00_02.tar"


@dataclass(frozen=True)
class Seed:
    """A good archive: ``raw`` is its VMA or tar stream, ``name`` the file's name without
    compression.
    """

    label: str
    name: str
    raw: bytes

    @property
    def is_vma(self) -> bool:
        return self.name.endswith(".vma")


@cache
def seeds() -> tuple[Seed, ...]:
    real = SAMPLES / "vzdump-qemu-108-2026_03_10-21_00_03.vma.zst"
    return (
        Seed(
            "vma, Proxmox's own, 109",
            VM,
            (SAMPLES / "vzdump-qemu-109-2026_03_09-21_01_10.vma").read_bytes(),
        ),
        Seed("vma, small, two disks", VM, _small().bytes()),
        Seed("tar, pax", CT, _container(tarfile.PAX_FORMAT)),
        Seed("vma, Proxmox's own, 108", VM, decompress(real.read_bytes())),
        Seed("vma, small, a memory", VM, _with_memory().bytes()),
        Seed("tar, GNU", CT, _container(tarfile.GNU_FORMAT)),
    )


def _small() -> Vma:
    disk = pattern(BLOCK) + bytes(2 * CLUSTER)
    return Vma({"drive-scsi0": disk, "drive-scsi1": pattern(CLUSTER + 5000)}, per_extent=2)


def _with_memory() -> Vma:
    config = b"scsi0: local:108/x.raw\n#qmdump#map:scsi0:drive-scsi0:local:raw:\n"
    disks = {"drive-scsi0": pattern(2 * CLUSTER), "vmstate": pattern(CLUSTER, holes=False)}
    return Vma(
        disks, configs={"qemu-server.conf": config, "qemu-server.fw": b"[RULES]\n"}, per_extent=1
    )


def _container(dialect: int) -> bytes:
    out = io.BytesIO()
    files = {"pct.conf": b"arch: amd64\nhostname: web\n", "pct.fw": b"[OPTIONS]\n"}
    with tarfile.open(fileobj=out, mode="w", format=dialect) as tar:
        for name, data in {f"./etc/vzdump/{name}": data for name, data in files.items()}.items():
            _add(tar, name, data)
        _add(tar, "./bin/sh", b"\x7fELF" * 700)
        _add(tar, "./" + "long/" * 30, kind=tarfile.DIRTYPE)
        _add(tar, "./" + "é" * 70 + "/" + "x" * 80, b"x" * 700)
        _add(tar, "./bin/bash", kind=tarfile.LNKTYPE, link="./bin/sh")
        _add(tar, "./bin/dash", kind=tarfile.SYMTYPE, link="sh")
        _add(tar, "./far", kind=tarfile.SYMTYPE, link="l" * 150)
        _add(tar, "./dev/null", kind=tarfile.CHRTYPE)
        _add(tar, "./run/pipe", kind=tarfile.FIFOTYPE)
        _add(tar, "./last", b"the end\n")
    return out.getvalue()


def _add(
    tar: tarfile.TarFile,
    name: str,
    data: bytes = b"",
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size, member.mtime = kind, link, len(data), 1773086402
    if kind == tarfile.CHRTYPE:
        member.devmajor, member.devminor = 1, 3
    if name.endswith("sh") and tar.format == tarfile.PAX_FORMAT:
        member.pax_headers = {"SCHILY.xattr.user.note": "a note", "comment": "words"}
    tar.addfile(member, io.BytesIO(data))
