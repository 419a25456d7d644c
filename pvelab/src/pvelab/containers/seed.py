"""One small container with a tree of real files, for labs that want one: the reference site itself
has only VMs.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from pvelab.containers.trees import Tree, make_tree
from pvelab.guests.devices import format_size
from pvelab.kernel import Lab, VmConfig

VMID, HOSTNAME = 200, "web-ct"
DESCRIPTION = "modelled: its files are real, nothing runs in it"
_SIZE = 1024**3
_BUSYBOX_SIZE = 400_000
_APPLETS = ("ash", "cat", "cp", "httpd", "ls", "mkdir", "mount", "ps", "sh", "vi")
_FILES: Mapping[str, str] = {
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/inittab": "::sysinit:/bin/mount -a\n::respawn:/bin/httpd -f -h /var/www\n",
    "etc/os-release": 'ID=alpine\nNAME="Modelled container"\n',
    "etc/passwd": "root:x:0:0:root:/root:/bin/ash\nweb:x:1000:1000::/home/web:/bin/ash\n",
    "etc/shadow": "root:*::0:::::\nweb:!::0:::::\n",
    "home/web/notes.txt": "belongs to web\n",
    "tmp/session": "what vzdump leaves out\n",
    "var/www/index.html": "<h1>web-ct</h1>\n",
}
_EMPTY = ("dev", "mnt", "proc", "root", "run", "srv", "sys", "var/log", "var/tmp")
# where an owner or a mode is not simply root's: path -> uid, gid, mode
_OWNERS = {
    "./etc/shadow": (0, 42, 0o640),
    "./home/web": (1000, 1000, 0o755),
    "./home/web/notes.txt": (1000, 1000, 0o600),
    "./root": (0, 0, 0o700),
    "./tmp": (0, 0, 0o1777),
    "./bin/busybox": (0, 0, 0o4755),
}


def seed_container(
    lab: Lab, node: str, vmid: int = VMID, hostname: str = HOSTNAME, storage: str = "local-lvm"
) -> VmConfig:
    """Make a container on a node: a root of about half a megabyte in a volume of 1 GiB, one NIC on
    the production bridge.
    """
    tree = make_tree(lab, node, storage, vmid, _SIZE)
    fill(tree, hostname)
    mac = f"BC:24:11:C7:{vmid // 100:02d}:{vmid % 100:02d}"
    config = {
        "arch": "amd64",
        "cores": "1",
        "description": DESCRIPTION,
        "features": "nesting=1",
        "hostname": hostname,
        "memory": "256",
        "net0": f"name=eth0,bridge={lab.bridges[0].name},firewall=1,hwaddr={mac},ip=dhcp,type=veth",
        "onboot": "1",
        "ostype": "alpine",
        "rootfs": f"{tree.volume.volid},size={format_size(tree.size)}",
        "swap": "256",
        "unprivileged": "1",
    }
    return lab.guests.create(node, vmid, config, "lxc")


def fill(tree: Tree, hostname: str) -> None:
    """Put a small system's files into a volume."""
    for name in _EMPTY:
        (tree.root / name).mkdir(parents=True, exist_ok=True)
    for name, text in {**_FILES, "etc/hostname": f"{hostname}\n"}.items():
        path = tree.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    binaries = tree.root / "bin"
    binaries.mkdir()
    (binaries / "busybox").write_bytes(random.Random(hostname).randbytes(_BUSYBOX_SIZE))
    for applet in _APPLETS:
        (binaries / applet).symlink_to("busybox")
    (binaries / "busybox.static").hardlink_to(binaries / "busybox")
    tree.owners.update(_OWNERS)
    tree.save()
