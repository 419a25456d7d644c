"""A real OpenSSH server on a private port of loopback, with keys of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import HANGS

SSHD = Path("/usr/sbin/sshd")

CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {dir}/host
AuthorizedKeysFile {dir}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
{extra}
"""


@dataclass
class Sshd:
    """A running server. ``host_key`` is its public key as known_hosts writes it, ``key_file`` a
    private key that it accepts.
    """

    directory: Path
    port: int
    process: subprocess.Popen[bytes]
    host_key: str
    key_file: Path
    known_hosts: Path
    user: str

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def sessions(self) -> list[int]:
        """The processes that the server made for its connections."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def signal_sessions(self, number: int) -> None:
        """Send a signal to each of them. One that ended since it was looked up needs none."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.signal_sessions(signal.SIGKILL)
        self.process.terminate()
        self.process.wait(HANGS)

    def replace_host_key(self) -> None:
        """Start again, after ``stop``, at the same address and with another host key."""
        for name in ("host", "host.pub"):
            (self.directory / name).unlink()
        self.host_key = keygen(self.directory / "host")
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", self.directory / "sshd_config"], stderr=log
            )
        _await(self)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def keygen(path: Path, kind: str = "ed25519", passphrase: str = "") -> str:
    """Given a path, make a key pair there; return the public half as ``type base64``."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "", "-f", str(path)], check=True
    )
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def start_sshd(directory: Path, *, extra: str = "", sftp: bool = True) -> Sshd:
    """Given an empty directory, start a server in it and return it when it answers."""
    directory.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        # where sshd, as root, separates its privileges
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port, host_key = free_port(), keygen(directory / "host")
    (directory / "authorized_keys").write_text(keygen(directory / "user") + "\n")
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    config = directory / "sshd_config"
    more = extra + ("\nSubsystem sftp internal-sftp" if sftp else "")
    config.write_text(CONFIG.format(port=port, dir=directory, extra=more))
    log = (directory / "log").open("wb")
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stderr=log)
    log.close()
    server = Sshd(
        directory,
        port,
        process,
        host_key,
        directory / "user",
        directory / "known_hosts",
        getpass.getuser(),
    )
    _await(server)
    return server


@contextlib.contextmanager
def running_sshd(directory: Path, *, extra: str = "", sftp: bool = True) -> Iterator[Sshd]:
    """Given an empty directory, run a server in it for as long as the block lasts."""
    server = start_sshd(directory, extra=extra, sftp=sftp)
    try:
        yield server
    finally:
        server.stop()


def _await(server: Sshd) -> None:
    deadline = time.monotonic() + HANGS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", server.port), 1) as sock:
                if sock.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((server.directory / "log").read_text())
        time.sleep(0.05)
