"""A kept configuration in which guest 108 has all that a guest can have around it, and what a
deletion with ``purge`` leaves of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from policies import surroundings
from policies.cluster_config import ConfigSet
from policies.surroundings import Surrounding, find

FW = "guests/qemu-108.firewall/"
CONF = "guests/qemu-108.conf"
FULL: dict[str, str] = {
    "guests.cfg": "qemu: 105\n\tnode n1\n\nqemu: 108\n\tnode n1\n",
    CONF: "#notes\nname: web\nonboot: 1\nsmbios1: uuid=aa\nstartup: order=2\ntags: b;a\n",
    "corosync-nodes.cfg": "node: n1\n\nnode: n2\n\nnode: n3\n",
    "ha/resources.cfg": "vm: vm:105\n\tstate started\n\n"
    "vm: vm:108\n\tcomment it's $(id)\n\tfailback 0\n\tmax_relocate 2\n\tmax_restart 3\n\tstate started\n",
    "ha/rules.cfg": "resource-affinity: apart\n\taffinity negative\n\tresources vm:105,vm:108\n\n"
    "node-affinity: home\n\tnodes n1:2,n2\n\torder 1\n\tresources vm:108\n\tstrict 1\n",
    "jobs.cfg": "vzdump: alone\n\tcomment one\n\tenabled 0\n\tschedule 21:00\n\tstorage local\n\tvmid 108\n\n"
    "vzdump: both\n\tschedule 22:00\n\tvmid 105;108\n\n"
    "vzdump: but\n\tall 1\n\texclude 108\n\tschedule 23:00\n",
    "replication.cfg": "local: 108-0\n\tguest 108\n\tjobnum 0\n\trate 10\n\tschedule */15\n\tsource n1\n\ttarget n2\n",
    "access/acl.cfg": "acl: / user root@pam Administrator\n\tpropagate 1\n\n"
    "acl: /vms/108 token a@pve!b PVEVMUser\n\tpropagate 0\n",
    "pools.cfg": "pool: web\n",
    "pools/web.cfg": "pool: web\n\tmember qemu/105\n\tmember qemu/108\n\tmember storage/local\n",
    FW + "options.cfg": "enable: 1\npolicy_in: DROP\n",
    FW + "rules.cfg": "rule: 0\n\taction ACCEPT\n\tdport 22\n\tenable 1\n\tipversion 4\n\tproto tcp\n\ttype in\n\n"
    "rule: 1\n\taction DROP\n\tenable 1\n\ttype in\n",
    FW + "aliases.cfg": "alias: Lan\n\tcidr 10.0.0.0/8\n\tcomment the LAN\n",
    FW + "ipset.cfg": "ipset: admins\n\tcomment who may\n",
    FW + "ipset/admins.cfg": "address: 10.1.0.0/16\n\naddress: 10.1.2.3\n\tnomatch 1\n",
}  # fmt: skip
# as PVE leaves it
PURGED: dict[str, str] = {
    "guests.cfg": "qemu: 105\n\tnode n1\n",
    "corosync-nodes.cfg": FULL["corosync-nodes.cfg"],
    "ha/resources.cfg": "vm: vm:105\n\tstate started\n",
    "ha/rules.cfg": "resource-affinity: apart\n\taffinity negative\n\tresources vm:105\n",
    "jobs.cfg": "vzdump: both\n\tschedule 22:00\n\tvmid 105\n\nvzdump: but\n\tall 1\n\tschedule 23:00\n",
    "access/acl.cfg": "acl: / user root@pam Administrator\n\tpropagate 1\n",
    "pools.cfg": "pool: web\n",
    "pools/web.cfg": "pool: web\n\tmember qemu/105\n\tmember storage/local\n",
}
# and as a restore does, without what it brings back itself
BACK = PURGED | {"guests.cfg": FULL["guests.cfg"], CONF: FULL[CONF]}


def config(
    base: Mapping[str, str],
    change: Mapping[str, str | None] | None = None,
    not_read: Mapping[str, str] | None = None,
    in_part: Mapping[str, str] | None = None,
) -> ConfigSet:
    """Given files, what is other in them (None: not there), what was not read and what in part,
    return the configuration.
    """
    files = {**base, **(change or {})}
    return ConfigSet(
        {path: text for path, text in files.items() if text is not None},
        not_read or {},
        in_part or {},
    )


def commands(items: tuple[Surrounding, ...]) -> list[str]:
    """Given what was found, return all commands in their order."""
    return [command for one in items for command in one.commands]


def to_do(then: ConfigSet, now: ConfigSet, vmid: int = 108, **more: object) -> list[Surrounding]:
    """Given two configurations, return what commands put back."""
    found = find(then, now, vmid, **more)  # type: ignore[arg-type]
    return [one for one in found if surroundings.to_do(one)]


def one(found: tuple[Surrounding, ...] | list[Surrounding], what: str) -> Surrounding:
    """Given what was found, return the one that is called so."""
    (wanted,) = [item for item in found if item.what == what]
    return wanted
