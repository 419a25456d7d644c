"""The guests' common software as an initial RAM file system: busybox, agent, SSH, service scripts,
drivers.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

SCRIPTS = Path(__file__).parent / "guest"
LIBRARY_FOLDER = "lib/x86_64-linux-gnu"

PROGRAMS = {
    "bin/busybox": "bin/busybox",
    "usr/sbin/qemu-ga": "usr/sbin/qemu-ga",
    "usr/sbin/dropbear": "usr/sbin/dropbear",
    "usr/bin/tcpsvd": "usr/bin/tcpsvd",
    "usr/sbin/tinydns": "usr/sbin/tinydns",
    "usr/sbin/tinydns-data": "usr/sbin/tinydns-data",
}
# Sonames that the programs above need (readelf -d), the loader first.
LIBRARIES = (
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libm.so.6",
    "libglib-2.0.so.0",
    "libgmodule-2.0.so.0",
    "libpcre2-8.so.0",
    "libnuma.so.1",
    "libudev.so.1",
    "liburing.so.2",
    "libcrypt.so.1",
    "libtomcrypt.so.1",
    "libtommath.so.1",
    "libgmp.so.10",
    "libz.so.1",
)
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "button", "evdev")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/shells": "/bin/sh\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
    "etc/hosts": "127.0.0.1 localhost\n",
}
FOLDERS = (
    "bin",
    "sbin",
    "usr",
    "usr/bin",
    "usr/sbin",
    "etc",
    "lib",
    "lib/modules",
    LIBRARY_FOLDER,
    "lib64",
    "root",
    "proc",
    "sys",
    "dev",
)


def build(tree: Path) -> bytes:
    """Given the folder with the unpacked packages, return the whole file system as a cpio archive
    (newc format).
    """
    entries: dict[str, tuple[int, bytes]] = dict.fromkeys(FOLDERS, (stat.S_IFDIR | 0o755, b""))
    for target, source in PROGRAMS.items():
        entries[target] = (stat.S_IFREG | 0o755, (tree / source).read_bytes())
    for soname in LIBRARIES:
        entries[f"{LIBRARY_FOLDER}/{soname}"] = (
            stat.S_IFREG | 0o755,
            find_library(tree, soname).read_bytes(),
        )
    entries["lib64/ld-linux-x86-64.so.2"] = (
        stat.S_IFLNK | 0o777,
        f"/{LIBRARY_FOLDER}/{LIBRARIES[0]}".encode(),
    )
    # rc loads them in the order of their names
    for number, module in enumerate(module_order(tree, MODULES)):
        entries[f"lib/modules/{number:02d}-{module.name}"] = (
            stat.S_IFREG | 0o644,
            module.read_bytes(),
        )
    for name, text in FILES.items():
        entries[name] = (stat.S_IFREG | 0o644, text.encode())
    for script in sorted(SCRIPTS.iterdir()):
        place = "sbin/shutdown" if script.name == "shutdown" else f"etc/{script.name}"
        entries[place] = (stat.S_IFREG | 0o755, script.read_bytes())
    for applet in applets(tree):
        # a script or program of our own goes before busybox's
        if not any(f"{folder}/{applet}" in entries for folder in ("bin", "sbin")):
            entries[f"bin/{applet}"] = (stat.S_IFLNK | 0o777, b"busybox")
    for name in ("init", "sbin/reboot", "sbin/poweroff"):
        entries[name] = (stat.S_IFLNK | 0o777, b"/bin/busybox")
    return cpio(entries)


def applets(tree: Path) -> list[str]:
    """Names that the guests' busybox answers to, read from its own table (names end in NUL, ``[``
    comes first).
    """
    data = (tree / "bin/busybox").read_bytes()
    start = data.index(b"[\0[[\0acpid\0")
    end = data.index(b"\0\0", start)
    return [name.decode() for name in data[start:end].split(b"\0") if name != b"busybox"]


def find_library(tree: Path, soname: str) -> Path:
    """Return the library of that name, wherever its package keeps it. Raise FileNotFoundError if
    none of them has it.
    """
    for folder in (LIBRARY_FOLDER, f"usr/{LIBRARY_FOLDER}", "lib64"):
        if (path := tree / folder / soname).exists():
            return path
    raise FileNotFoundError(f"{soname} is in none of the fetched packages")


def module_order(tree: Path, wanted: tuple[str, ...]) -> list[Path]:
    """Given kernel module names, return their files and those of what they depend on, each after
    what it needs.
    """
    files = {
        path.stem.replace("-", "_"): path for path in tree.glob("lib/modules/*/kernel/**/*.ko")
    }
    order: list[Path] = []

    def add(name: str) -> None:
        path = files[name.replace("-", "_")]
        if path in order:
            return
        for needed in dependencies(path.read_bytes()):
            add(needed)
        order.append(path)

    for name in wanted:
        add(name)
    return order


def dependencies(module: bytes) -> list[str]:
    """Given a kernel module's bytes, return the modules that its ``.modinfo`` section says it
    depends on.
    """
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return [name for name in found.group(1).decode().split(",") if name] if found else []


def cpio(entries: dict[str, tuple[int, bytes]]) -> bytes:
    """Given path -> (mode, content), return a newc archive (Linux
    Documentation/driver-api/early-userspace/buffer-format).
    """
    parts: list[bytes] = []
    for inode, (name, (mode, content)) in enumerate(
        [*entries.items(), ("TRAILER!!!", (0, b""))], start=1
    ):
        encoded = name.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        parts += [header, b"\0" * (-len(header) % 4), content, b"\0" * (-len(content) % 4)]
    return b"".join(parts)
