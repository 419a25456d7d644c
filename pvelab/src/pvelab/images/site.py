"""The reference site's eleven guests: the lab's default cluster, as data.

The lab's guests are small Linux machines that stand in for the site's own. What a restore test sees
of each is real: it boots from its disk, has its address, its agent and its service, and its pages
come from a database file on a disk.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

MIB = 1024 * 1024
# fixed, so that every machine seeds the same guests
NAMESPACE = uuid.UUID("5f0c4a53-7f2e-4e0f-8f0a-6c616e67656f")


@dataclass(frozen=True, slots=True)
class SeedNic:
    """One NIC of a guest: its MAC, VLAN tag and address with prefix length."""

    mac: str
    tag: int | None
    address: str


@dataclass(frozen=True, slots=True)
class Service:
    """One thing that a guest answers.

    ``kind`` is ``http`` (a page at ``path`` that holds ``text``; with ``database`` it is made from
    the database file and is a 500 without it), ``https`` (a page at ``path`` that holds ``text``,
    over TLS), ``ldap`` (the directory ``text``), ``tcp`` (a listener that answers ``text``, with
    escapes, to whatever it is sent), ``dns`` (UDP, for the zone ``text``) or ``ssh``.
    """

    kind: str
    port: int
    path: str = "/"
    text: str = ""
    database: bool = False


@dataclass(frozen=True, slots=True)
class GuestSeed:
    """A guest as the lab first makes it. ``memory`` in MiB and ``cores`` as its config says, disk
    sizes in bytes.

    ``data_disk`` 0 means that it has no second disk. ``records`` is how many lines its database
    starts with.
    """

    vmid: int
    name: str
    nics: tuple[SeedNic, ...]
    memory: int
    cores: int = 1
    services: tuple[Service, ...] = ()
    agent: bool = True
    system: str = "debian"
    boot_disk: int = 64 * MIB
    data_disk: int = 0
    records: int = 0

    @property
    def uuid(self) -> str:
        """SMBIOS UUID, the same on every machine that seeds this site."""
        return str(uuid.uuid5(NAMESPACE, f"guest {self.vmid}"))

    @property
    def disks(self) -> dict[str, int]:
        """Size in bytes of each disk, by PVE key."""
        return {"scsi0": self.boot_disk} | ({"scsi1": self.data_disk} if self.data_disk else {})


def _nics(vmid: int, *networks: tuple[int, str]) -> tuple[SeedNic, ...]:
    """Given (VLAN tag, address) pairs, return NICs with Proxmox's own MAC prefix (BC:24:11)."""
    return tuple(
        SeedNic(f"BC:24:11:00:{n:02X}:{vmid - 100:02X}", tag, f"{address}/24")
        for n, (tag, address) in enumerate(networks)
    )


def _page(port: int, path: str, text: str, database: bool = False) -> Service:
    return Service("http", port, path, text, database)


# A Kerberos error: a client sees a protocol, not just a port.
_KERBEROS = r"\000\000\000\004\176\002\060\000"
_ZABBIX = r'ZBXD\001\026\000\000\000\000\000\000\000{"response":"success"}'
_OPENID = '{"issuer":"http://192.168.10.6:8080/realms/langeo","jwks_uri":"http://192.168.10.6:8080/realms/langeo/protocol/openid-connect/certs"}'

GUESTS: tuple[GuestSeed, ...] = (
    GuestSeed(
        100,
        "PfSense",
        _nics(100, (10, "192.168.10.1"), (20, "192.168.20.1"), (30, "192.168.30.1")),
        1024,
        services=(Service("https", 443, text="pfSense"),),
        system="freebsd",
    ),
    GuestSeed(101, "Windows-Client", _nics(101, (20, "192.168.20.101")), 4096, system="mswindows"),
    GuestSeed(
        102,
        "Windows-Server",
        _nics(102, (10, "192.168.10.2")),
        4096,
        services=(
            Service("ldap", 389, text="dc=langeo,dc=lan"),
            Service("tcp", 88, text=_KERBEROS),
            Service("tcp", 53, text=r"\000\014\000\000\200\005\000\000\000\000\000\000\000\000"),
            Service("dns", 53, text="langeo.lan"),
        ),
        system="mswindows",
    ),
    GuestSeed(
        103,
        "Zabbix-Server",
        _nics(103, (10, "192.168.10.3")),
        2048,
        services=(Service("tcp", 10051, text=_ZABBIX), _page(80, "/", "Zabbix", database=True)),
        data_disk=32 * MIB,
        records=400,
    ),
    GuestSeed(
        104,
        "GLPI-Server",
        _nics(104, (10, "192.168.10.4")),
        2048,
        services=(_page(80, "/", "GLPI", database=True),),
        data_disk=32 * MIB,
        records=1200,
    ),
    GuestSeed(
        105,
        "Kanboard-Server",
        _nics(105, (10, "192.168.10.5")),
        1024,
        services=(_page(80, "/login", "Kanboard", database=True),),
        data_disk=32 * MIB,
        records=600,
    ),
    GuestSeed(
        106,
        "Keyclock-Server",
        _nics(106, (10, "192.168.10.6")),
        2048,
        services=(_page(8080, "/realms/langeo/.well-known/openid-configuration", _OPENID),),
    ),
    GuestSeed(
        107,
        "AD-CS-Server",
        _nics(107, (10, "192.168.10.7")),
        4096,
        services=(_page(80, "/certsrv/", "Microsoft Active Directory Certificate Services"),),
        system="mswindows",
    ),
    GuestSeed(
        108,
        "Debian-Server",
        _nics(108, (10, "192.168.10.8")),
        2048,
        cores=2,
        services=(Service("ssh", 22), _page(80, "/", "Debian-Server answers")),
        agent=False,
        boot_disk=128 * MIB,
    ),
    GuestSeed(
        109, "Windows-Client-Internet", _nics(109, (20, "192.168.20.109")), 4096, system="mswindows"
    ),
    GuestSeed(
        110,
        "Docker-Server",
        _nics(110, (30, "192.168.30.10")),
        2048,
        services=(_page(80, "/", "Langeo Education"),),
    ),
)


def guest(vmid: int) -> GuestSeed:
    """Given the VMID of one of the eleven guests, return it. Raise KeyError for any other."""
    return {seed.vmid: seed for seed in GUESTS}[vmid]
