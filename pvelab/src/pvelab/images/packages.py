"""The Debian packages that a guest is made of, fetched and unpacked without root."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from pvelab.errors import Unreachable
from pvelab.images import software

KERNEL = "linux-image-cloud-amd64"

# In the guest: kernel, busybox, agent, SSH, tcpsvd, a name server, and the libraries these are
# linked with. On the host, run from where they are unpacked: the boot loader's installer and the
# FAT tools. Then what single guests carry.
PACKAGES = (
    KERNEL,
    "busybox-static",
    "qemu-guest-agent",
    "dropbear-bin",
    "ipsvd",
    "tinydns",
    "libc6",
    "libglib2.0-0",
    "libpcre2-8-0",
    "libnuma1",
    "libudev1",
    "liburing2",
    "libcrypt1",
    "libtomcrypt1",
    "libtommath1",
    "libgmp10",
    "zlib1g",
    "syslinux",
    "syslinux-common",
    "mtools",
    "dosfstools",
    *software.PACKAGES,
)


def required_apt_packages() -> tuple[str, ...]:
    """Return the Debian packages that the lab runs on the host itself, to be installed with apt."""
    return (
        "qemu-system-x86",
        "qemu-utils",
        "seabios",
        "zstd",
        "e2fsprogs",
        "util-linux",
        "openssh-server",
        "redis-server",
    )


def fetch(cache: Path, progress: Callable[[str], None]) -> tuple[Path, tuple[str, ...]]:
    """Given a cache folder, return the folder with the unpacked packages, and their file names
    (name, version).

    What is there already is not fetched again. Raise Unreachable when Debian's archive cannot be
    reached.
    """
    key = hashlib.sha256("\n".join(PACKAGES).encode()).hexdigest()[:12]
    tree, listing = cache / f"tree-{key}", cache / f"packages-{key}.json"
    if not listing.exists():
        shutil.rmtree(tree, ignore_errors=True)
        folder = cache / "debs"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        progress("fetching the guests' Debian packages")
        options = _apt_get(cache, folder, list(PACKAGES))
        # the metapackage depends on the kernel of today, whose name nobody knows before
        package = next(folder.glob(f"{KERNEL}_*.deb"))
        answer = subprocess.run(
            ["dpkg-deb", "-f", str(package), "Depends"], check=True, capture_output=True, text=True
        )
        _apt_get(cache, folder, [answer.stdout.split()[0]], options)
        names = sorted(path.name for path in folder.glob("*.deb"))
        tree.mkdir(parents=True)
        for name in names:
            subprocess.run(
                ["dpkg-deb", "-x", str(cache / "debs" / name), str(tree)],
                check=True,
                capture_output=True,
            )
        # written last: without it the tree may be half unpacked
        fresh = listing.with_suffix(".tmp")
        fresh.write_text(json.dumps(names))
        fresh.replace(listing)
    return tree, tuple(json.loads(listing.read_text()))


def _apt_get(
    cache: Path, folder: Path, packages: list[str], options: list[str] | None = None
) -> list[str]:
    """Download packages with the machine's package lists or, where these know nothing, with lists
    of our own.

    Return the apt options that worked. Raise Unreachable when neither did.
    """
    done = _run_download(options or [], folder, packages)
    if done.returncode and options is None:
        # in our own cache folder, where no root is needed
        state, archives = cache / "apt" / "state", cache / "apt" / "cache"
        for lists in (state / "lists" / "partial", archives / "archives" / "partial"):
            lists.mkdir(parents=True, exist_ok=True)
        values = {
            "Dir::State": state,
            "Dir::Cache": archives,
            "Dir::State::status": "/var/lib/dpkg/status",
            "Debug::NoLocking": "1",
        }
        options = [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
        subprocess.run(["apt-get", *options, "update"], capture_output=True, check=False)
        done = _run_download(options, folder, packages)
    if done.returncode == 0:
        return options or []
    last = (done.stderr.strip().splitlines() or ["apt-get said nothing"])[-1]
    raise Unreachable(
        f"cannot fetch the lab guests' Debian packages: {last}",
        "check the network and /etc/apt/sources.list",
    )


def _run_download(
    options: list[str], folder: Path, packages: list[str]
) -> subprocess.CompletedProcess[str]:
    command = ["apt-get", *options, "download", *packages]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
