"""An SSH/SFTP endpoint for each node: OpenSSH's own server on a loopback port, as the user who runs
the lab.

Besides SFTP it carries out a few commands that read archives or list a bridge's ports, and nothing
else: see ``node_commands``.
"""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pvelab.errors import PvelabError
from pvelab.images import keys
from pvelab.vmm import node_commands, processes
from pvelab.vmm.probe import answers_ssh, free_port

SSHD = "/usr/sbin/sshd"
# Where sshd, when root, keeps an empty folder to lock itself into (Debian's build).
PRIVILEGE_SEPARATION = Path("/run/sshd")
TIMEOUT_S = 10.0
CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowUsers {user}
AllowTcpForwarding no
AllowAgentForwarding no
X11Forwarding no
PermitTTY no
Subsystem sftp {sftp}
ForceCommand {command}
# bash thinks that it stands below another shell, and leaves the user's ~/.bashrc alone
SetEnv SHLVL=1
"""


@dataclass(frozen=True, slots=True)
class NodeAccess:
    """How to log in to a node; ``known_hosts_line`` is its host key as known_hosts holds it."""

    host: str
    port: int
    user: str
    key_file: Path
    known_hosts_line: str


class NodeSsh:
    """One node's endpoint. Its keys are made once and kept in its folder; ``root`` stands for the
    node's root directory.

    ``past`` is the socket that tells of archives which are only computed, ``links`` the one that
    tells of the node's links.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        root: Path | None = None,
        past: Path | None = None,
        links: Path | None = None,
    ) -> None:
        self.name, self._folder, self._past, self._links = name, folder.absolute(), past, links
        self._root = (root or folder).absolute()
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> NodeAccess:
        """Start the server and return how to log in, once it answers: on the same port as before,
        if it ran before.

        Raise PvelabError when it does not come up.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        processes.kill_left_over(self._folder / "sshd.pid", str(self._folder))
        host_key, user = self._make_once(), getpass.getuser()
        if os.geteuid() == 0:
            PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        if not self._port:
            self._port = free_port()
        port = self._port
        config = self._folder / "sshd_config"
        past = [str(self._past), self.name] if self._past else []
        links = f"{self.name}={self._links}" if self._links else ""
        command = shlex.join(
            [
                sys.executable,
                "-I",
                "-S",
                str(Path(node_commands.__file__)),
                str(self._root),
                links,
                *past,
            ]
        )
        sftp = node_commands.SFTP_SERVER
        config.write_text(
            CONFIG.format(port=port, folder=self._folder, user=user, command=command, sftp=sftp)
        )
        self._process = processes.spawn(
            [SSHD, "-D", "-e", "-f", str(config)], self._folder / "sshd.log"
        )
        (self._folder / "sshd.pid").write_text(str(self._process.pid))
        self._await(port)
        return NodeAccess(
            "127.0.0.1", port, user, self._folder / "login_key", f"[127.0.0.1]:{port} {host_key}"
        )

    def stop(self) -> None:
        """Stop the server; connections that are open end too."""
        if self._process is None:
            return
        # The listener's death leaves its connections running: its children (proc(5): field 4 of
        # stat).
        connections = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                text = stat.read_text()
                if int(text[text.rindex(")") + 2 :].split()[1]) == self._process.pid:
                    connections.append(int(stat.parent.name))
        processes.end(self._process)
        for pid in connections:
            with suppress(ProcessLookupError):
                os.kill(pid, 15)
        self._process = None
        (self._folder / "sshd.pid").unlink(missing_ok=True)

    def _await(self, port: int) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not answers_ssh("127.0.0.1", port):
            if (
                self._process is None
                or self._process.poll() is not None
                or time.monotonic() > deadline
            ):
                self.stop()
                log = (self._folder / "sshd.log").read_text().strip().splitlines()
                raise PvelabError(
                    f"the SSH server of node {self.name} did not come up: "
                    f"{log[-1] if log else 'it said nothing'}"
                )
            time.sleep(0.05)

    def _make_once(self) -> str:
        """Make the host's and the login key unless they are there; return the public host key."""
        public = self._folder / "host_key.pub"
        if not public.exists():
            host, login = keys.generate(), keys.generate()
            for name, private in (("host_key", host.private), ("login_key", login.private)):
                (self._folder / name).touch(mode=0o600)
                (self._folder / name).write_bytes(private)
            (self._folder / "authorized_keys").write_text(login.public + "\n")
            public.write_text(host.public)
        return public.read_text()
