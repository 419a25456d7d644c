"""A real directory server of the tests' own: slapd on a loopback port, with its database in a
directory that goes with it.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import HANGS

BASE = "dc=example,dc=test"
_ENTRIES = (
    f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n"
)


@dataclass(frozen=True)
class Directory:
    """Where it listens: ``port`` for LDAP, ``secure`` for LDAP over TLS (0 without a
    certificate).
    """

    port: int
    secure: int


@contextmanager
def private_slapd(
    *, certificate: Path | None = None, database: bool = True, closed: bool = False
) -> Iterator[Directory]:
    """Start slapd, yield where it listens, and stop it.

    ``certificate`` is a PEM file with certificate and key. Without ``database`` it serves no
    directory; ``closed``: it wants a login for everything, its root entry too.
    """
    home = Path(tempfile.mkdtemp(prefix="slapd-"))
    try:
        # a copy: Debian's AppArmor profile lets the installed one read its own places only
        program = home / "slapd"
        shutil.copy("/usr/sbin/slapd", program)
        (home / "slapd.conf").write_text(_config(home, certificate, database, closed))
        if database:
            (home / "db").mkdir()
            (home / "first.ldif").write_text(_ENTRIES)
            command: list[str | Path] = [
                program,
                "-Tadd",
                "-f",
                home / "slapd.conf",
                "-l",
                home / "first.ldif",
            ]
            subprocess.run(command, check=True, capture_output=True, cwd=home)
        port, secure = _free_port(), _free_port() if certificate else 0
        urls = f"ldap://127.0.0.1:{port}/" + (f" ldaps://127.0.0.1:{secure}/" if secure else "")
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, "-d", "0", "-f", home / "slapd.conf", "-h", urls],
                stdout=log,
                stderr=log,
                cwd=home,
            )
        try:
            _wait(process, port, home / "log")
            yield Directory(port, secure)
        finally:
            process.terminate()
            process.wait(HANGS)
    finally:
        shutil.rmtree(home)


def _config(home: Path, certificate: Path | None, database: bool, closed: bool) -> str:
    lines = [
        "include /etc/ldap/schema/core.schema",
        "modulepath /usr/lib/ldap",
        "moduleload back_mdb",
    ]
    lines += [f"pidfile {home}/pid", *(["require authc"] if closed else [])]
    if certificate:
        lines += [f"TLSCertificateFile {certificate}", f"TLSCertificateKeyFile {certificate}"]
    if database:
        lines += ["database mdb", f'suffix "{BASE}"', f"directory {home}/db", "maxsize 1048576"]
    return "\n".join(lines) + "\n"


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + HANGS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])
