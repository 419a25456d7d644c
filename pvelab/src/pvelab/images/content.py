"""What is a guest's own: its files, as folders that become its file systems."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from pvelab.images import keys
from pvelab.images.site import MIB, GuestSeed, Service

# What the guest agent's guest-get-osinfo answers, by the system that a guest stands in for.
SYSTEMS = {
    "debian": ("debian", "Debian GNU/Linux", "12", "Debian GNU/Linux 12 (bookworm)"),
    "mswindows": ("mswindows", "Microsoft Windows", "2022", "Microsoft Windows (lab stand-in)"),
    "freebsd": ("freebsd", "FreeBSD", "14", "pfSense on FreeBSD 14 (lab stand-in)"),
}
FIRST_DAY = date(2026, 1, 1)


# The directory that slapd serves: no login, so anybody may read it and nobody change it.
SLAPD = """include /site/ldap/core.schema
modulepath /site/ldap/lib
moduleload back_mdb
database mdb
suffix "{suffix}"
directory /site/ldap/db
maxsize 4194304
"""
# 25 entries beneath the top: something to search
PEOPLE = 25
LIGHTTPD = """server.modules = ("mod_mbedtls")
server.document-root = "/site/https/pages"
index-file.names = ("index.html")
mimetype.assign = (".html" => "text/html; charset=utf-8")
ssl.engine = "enable"
ssl.pemfile = "/site/https/server.pem"
"""


def write_system(
    seed: GuestSeed,
    folder: Path,
    extra: Mapping[str, bytes] | None = None,
    software: Path | None = None,
) -> None:
    """Given a guest, write the files of its system partition into ``folder``; ``extra`` are more,
    by path.

    ``software`` is the folder with what its services need beyond the common software, a folder a
    kind.
    """
    # none for the firewall itself, which is that of the others
    gateway = f"{seed.nics[0].address.rsplit('.', 1)[0]}.1" if len(seed.nics) == 1 else ""
    identity, word, version, pretty = SYSTEMS[seed.system]
    files = {
        "hostname": f"{seed.name}\n",
        "net": "".join(f"eth{number} {nic.address}\n" for number, nic in enumerate(seed.nics)),
        "gateway": f"{gateway}\n",
        "forward": "1\n" if len(seed.nics) > 1 else "0\n",
        "os-release": (
            f'ID={identity}\nNAME="{word}"\nVERSION_ID="{version}"\nVERSION="{version}"\n'
            f'PRETTY_NAME="{pretty}"\n'
        ),
        "services": "".join(f"{service.kind} {service.port}\n" for service in seed.services),
    }
    contents = {name: text.encode() for name, text in files.items()}
    for service in seed.services:
        if service.kind == "dns":
            contents["zone"] = f"{service.text}\n".encode()
        if service.kind == "http":
            database = "yes" if service.database else "no"
            page = f"{service.path}\n{database}\n{service.text}\n"
            contents[f"pages/{service.port}"] = page.encode()
        if service.kind == "tcp":
            # bytes are written as escapes there
            answer = service.text.encode().decode("unicode_escape").encode("latin-1")
            contents[f"answers/{service.port}"] = answer
        if service.kind == "ldap":
            contents |= _directory(service.text)
        if service.kind == "https":
            contents |= _web_server(seed, service)
        if software and (software / service.kind).is_dir():
            shutil.copytree(software / service.kind, folder / service.kind, dirs_exist_ok=True)
    if any(service.kind == "ssh" for service in seed.services):
        contents["ssh/host_key"] = keys.generate().dropbear
    # Something that does not compress and is in no other guest, so that archives differ in size and
    # content.
    contents["content.bin"] = random.Random(seed.vmid).randbytes(2 * MIB)
    for name, content in (contents | dict(extra or {})).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _directory(suffix: str) -> dict[str, bytes]:
    """A directory with some people in it, and the configuration of the server that serves it."""
    name = suffix.partition(",")[0].partition("=")[2]
    entries = [
        f"dn: {suffix}\nobjectClass: dcObject\nobjectClass: organization\ndc: {name}\no: {name}\n"
    ]
    entries += [f"dn: ou=People,{suffix}\nobjectClass: organizationalUnit\nou: People\n"]
    entries += [
        f"dn: cn=Person {n},ou=People,{suffix}\nobjectClass: person\ncn: Person {n}\nsn: {n}\n"
        for n in range(1, PEOPLE + 1)
    ]
    return {
        "ldap/directory.ldif": "\n".join(entries).encode(),
        "ldap/slapd.conf": SLAPD.format(suffix=suffix).encode(),
    }


def _web_server(seed: GuestSeed, service: Service) -> dict[str, bytes]:
    """A page, the certificate for the guest's own address, and the configuration of the server that
    shows both.
    """
    page = f"<!doctype html><title>{service.text}</title><p>{service.text}\n"
    return {
        f"https/pages{service.path}{'index.html' if service.path.endswith('/') else ''}": page.encode(),
        "https/server.pem": keys.certificate(seed.name, seed.nics[0].address.partition("/")[0]),
        "https/lighttpd.conf": LIGHTTPD.encode(),
    }


def write_data(seed: GuestSeed, folder: Path) -> None:
    """Given a guest with a data disk, write its database file into ``folder``: one record a
    line.
    """
    lines = (
        f"{n}|{FIRST_DAY + timedelta(days=n // 8)}|{seed.name} record {n}\n"
        for n in range(1, seed.records + 1)
    )
    (folder / "records.db").write_text("".join(lines))
