"""Builds the images, once for each set of inputs, and every guest's own disks from them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backports import zstd

from pvelab.images import content, disks, initramfs, packages, software
from pvelab.images.site import GuestSeed


@dataclass(frozen=True, slots=True)
class Images:
    """What every guest shares: the boot partition and the loader's first stage. ``digest`` names
    what they were made from.
    """

    folder: Path
    digest: str

    @property
    def boot(self) -> Path:
        """The FAT partition with loader, kernel and initial RAM disk."""
        return self.folder / "boot.fat"

    @property
    def software(self) -> Path:
        """What single guests carry on their own disk, a folder a kind of service."""
        return self.folder / "software"

    @property
    def loader(self) -> bytes:
        """The loader's code in sector 0."""
        return (self.folder / "mbr.bin").read_bytes()


def default_cache() -> Path:
    """Where images are kept when nobody says otherwise: ``$XDG_CACHE_HOME/pvelab``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pvelab"


def ensure_images(
    cache_dir: Path | None = None, progress: Callable[[str], None] = lambda text: None
) -> Images:
    """Given a cache folder, return the images, building what is missing. ``progress`` is told what
    takes time.

    The network is used only when the packages are not in the cache. Several processes may ask at
    once: one builds. Raise Unreachable when the packages cannot be fetched.
    """
    cache = (cache_dir or default_cache()).absolute()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tree, names = packages.fetch(cache, progress)
        digest = _digest(names)
        images = Images(cache / f"images-{digest}", digest)
        if images.folder.exists():
            return images
        progress("building the guests' boot image")
        # in a folder beside the wanted one, so that half a build is never taken for a whole one
        with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as work:
            fresh = Path(work) / "images"
            fresh.mkdir()
            initrd = fresh / "initrd"
            # The kernel reads zstd; a small file matters, for the loader reads it through the BIOS.
            initrd.write_bytes(zstd.compress(initramfs.build(tree), level=12))
            kernel = next((tree / "boot").glob("vmlinuz-*"))
            disks.build_boot(tree, kernel, initrd, fresh / "boot.fat")
            software.collect(tree, fresh / "software")
            shutil.copy(tree / "usr/lib/syslinux/mbr/mbr.bin", fresh / "mbr.bin")
            fresh.rename(images.folder)
        return images


def build_guest_disks(
    images: Images, seed: GuestSeed, folder: Path, *, extra: Mapping[str, bytes] | None = None
) -> dict[str, Path]:
    """Given the images and a guest, write its disks as raw sparse files into ``folder`` and return
    them by PVE key.

    ``extra`` are more files for its system partition, by path. No network, no root, well under a
    second.
    """
    folder.mkdir(parents=True, exist_ok=True)
    targets = {key: folder / f"{key}.raw" for key in seed.disks}
    with tempfile.TemporaryDirectory(dir=folder) as work:
        system, data = Path(work) / "system", Path(work) / "data"
        system.mkdir()
        content.write_system(seed, system, extra, images.software)
        disks.write_system_disk(
            images.boot, images.loader, system, targets["scsi0"], seed.boot_disk
        )
        if seed.data_disk:
            data.mkdir()
            content.write_data(seed, data)
            disks.write_data_disk(data, targets["scsi1"], seed.data_disk)
    return targets


def _digest(names: tuple[str, ...]) -> str:
    """A short name for the inputs: the packages' versions, the guest's scripts and the code that
    puts them together.
    """
    seen = hashlib.sha256("\n".join(names).encode())
    here = Path(__file__).parent
    for path in sorted(
        [
            *initramfs.SCRIPTS.iterdir(),
            *(here / name for name in ("build.py", "disks.py", "initramfs.py", "software.py")),
        ]
    ):
        seen.update(path.name.encode() + b"\0" + path.read_bytes())
    return seen.hexdigest()[:16]
