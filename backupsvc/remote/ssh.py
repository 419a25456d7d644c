"""Opening an SSH connection: a known host key or none, one key file, and errors that name the host
and the next action.
"""

from __future__ import annotations

import base64
import logging
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from paramiko.pkey import UnknownKeyType

from backupsvc.errors import BackupsvcError, RemoteUnreachable, SshRefused, UsageError

CONNECT_TIMEOUT = 10.0  # seconds, for the TCP connection
BANNER_TIMEOUT = 15.0  # seconds; a guest under emulation answers late
AUTH_TIMEOUT = 20.0  # seconds
CHANNEL_TIMEOUT = 15.0  # seconds until a peer has opened a channel; paramiko would wait for an hour
KEEPALIVE = 15  # seconds, so that a dead peer is noticed
DEFAULT_PORT = 22
_ABOUT_KEYS = "create one with ssh-keygen -t ed25519, readable by this service's user"

# paramiko raises what is said of a refused login also where nobody answered one
# (AuthHandler.wait_for_response)
_UNANSWERED = re.compile(r"Authentication timeout|transport shut down")

# Without a handler Python would print the library's tracebacks to the terminal; what went wrong is
# in our own errors.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

# A channel that was given up while the peer still opened it: our own time limit, told in our own
# error, and no fault of the peer.
_LATE_CHANNEL = "Success for unrequested channel!"


logging.getLogger("paramiko.transport").addFilter(
    lambda record: not str(record.msg).startswith(_LATE_CHANNEL)
)


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to connect to. ``what`` names it in messages (``the probe``, ``node clovis``),
    ``setting`` where it is configured.

    ``pinned`` are the only host keys that are believed (``type base64``, a line each, one of a
    kind); without it ``known_hosts`` decides, else the user's own. ``key_setting`` is the setting
    that holds the host key, or names the file with it.
    """

    what: str
    address: str
    user: str
    key_file: Path | None
    setting: str
    pinned: str | None = None
    known_hosts: Path | None = None
    key_setting: str = ""

    @property
    def keys_in(self) -> str:
        """Where its host key is looked for, for messages."""
        if self.pinned:
            return self.key_setting or self.setting
        if self.known_hosts:
            return f"{self.known_hosts} ({self.key_setting or self.setting})"
        return f"~/.ssh/known_hosts, or {self.key_setting or self.setting}"

    @property
    def host(self) -> str:
        """The host alone."""
        return _split(self)[0]

    @property
    def port(self) -> int:
        """The port, 22 if none is given."""
        return _split(self)[1]

    @property
    def key_name(self) -> str:
        """How known_hosts calls it."""
        return self.host if self.port == DEFAULT_PORT else f"[{self.host}]:{self.port}"

    def __str__(self) -> str:
        return f"{self.what} ({self.user}@{self.host}:{self.port})"


def open_client(peer: Peer) -> paramiko.SSHClient:
    """Given a peer, return an authenticated connection to it.

    Raise RemoteUnreachable if it does not answer, SshRefused if it shows another host key than the
    known one or does not accept the login, UsageError if a setting is wrong.
    """
    client = paramiko.SSHClient()
    policy = _Refuse(peer)
    _load_host_keys(client, peer)
    client.set_missing_host_key_policy(policy)
    host, port = peer.host, peer.port
    if peer.key_file is None:
        raise UsageError(
            f"no SSH key is configured for {peer.what}",
            f"name a private key file without passphrase: {peer.setting}",
        )
    if not peer.key_file.is_file():
        raise UsageError(
            f"the SSH key {peer.key_file} for {peer.what} is not a file",
            "create it with ssh-keygen -t ed25519",
        )
    try:
        client.connect(
            host,
            port=port,
            username=peer.user,
            key_filename=str(peer.key_file),
            # any other key would be tried first, and a server counts those as failed logins
            allow_agent=False,
            look_for_keys=False,
            timeout=CONNECT_TIMEOUT,
            banner_timeout=BANNER_TIMEOUT,
            auth_timeout=AUTH_TIMEOUT,
            channel_timeout=CHANNEL_TIMEOUT,
            transport_factory=_transport,
        )
    except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
        client.close()
        keys = client.get_host_keys().lookup(peer.key_name)
        known = ", ".join(fingerprint(key) for key in keys.values()) if keys else "none"
        raise _refusal(peer, error, policy.seen, known) from None
    transport = client.get_transport()
    if transport is not None:
        transport.set_keepalive(KEEPALIVE)
    return client


def fingerprint(key: paramiko.PKey) -> str:
    """Given a host key, return its fingerprint as ssh-keygen -l prints it."""
    return str(key.fingerprint)


class _Refuse(paramiko.MissingHostKeyPolicy):
    """Refuses every host key that is not known, and remembers it for the message."""

    def __init__(self, peer: Peer) -> None:
        self.seen: paramiko.PKey | None = None
        self._peer = peer

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Given a key that is not known, refuse it."""
        self.seen = key
        raise paramiko.SSHException(f"the host key of {self._peer.what} is not known")


def _transport(*args: Any, **kwargs: Any) -> paramiko.Transport:
    """A transport that prefers AES-GCM, which computes faster. Its window is left alone: larger
    ones are slower.

    Small packets go out at once: held back until the last one is acknowledged (RFC 896), each
    question waits 40 ms for nothing.
    """
    transport = paramiko.Transport(*args, **kwargs)
    if isinstance(transport.sock, socket.socket):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    options = transport.get_security_options()
    options.ciphers = tuple(sorted(options.ciphers, key=lambda cipher: "gcm" not in cipher))
    return transport


def _load_host_keys(client: paramiko.SSHClient, peer: Peer) -> None:
    if peer.pinned:
        for line in peer.pinned.strip().splitlines():
            kind, _, rest = line.strip().partition(" ")
            data = rest.partition(" ")[0]  # what follows is a comment, as in known_hosts
            try:
                key = paramiko.PKey.from_type_string(kind, base64.b64decode(data, validate=True))
            except (paramiko.SSHException, UnknownKeyType, ValueError, IndexError):
                hint = f"{peer.setting} takes a line like `ssh-ed25519 AAAA...`"
                raise UsageError(f"the pinned host key of {peer.what} is not one", hint) from None
            client.get_host_keys().add(peer.key_name, kind, key)
    elif peer.known_hosts:
        try:
            client.load_host_keys(str(peer.known_hosts))
        except OSError as error:
            raise UsageError(
                f"the known_hosts file {peer.known_hosts} cannot be read: {error.strerror}",
                "correct the setting",
            ) from None
    else:
        client.load_system_host_keys()


def _refusal(
    peer: Peer, error: Exception, unknown: paramiko.PKey | None, known: str
) -> BackupsvcError:
    """Given what paramiko raised, return the sentence and the next action."""
    if isinstance(error, paramiko.BadHostKeyException):
        return _wrong_key(peer, error.key, fingerprint(error.expected_key))
    if unknown is not None:
        return _wrong_key(peer, unknown, known)
    if isinstance(error, paramiko.PasswordRequiredException):
        return SshRefused(
            f"the SSH key {peer.key_file} needs a passphrase",
            "use a key without one, kept private by its file mode",
        )
    if isinstance(error, paramiko.AuthenticationException) and not _UNANSWERED.search(str(error)):
        hint = (
            f"append the public half of {peer.key_file} to {peer.user}'s authorized_keys there, "
            f"or correct {peer.setting}"
        )
        return SshRefused(
            f"{peer} does not accept the key {peer.key_file} for the user {peer.user}", hint
        )
    if why := _unusable(peer.key_file):
        return UsageError(
            f"the SSH key {peer.key_file} for {peer.what} cannot be used: {why}", _ABOUT_KEYS
        )
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return RemoteUnreachable(
        f"{peer} cannot be reached by SSH: {said}",
        f"is it up, and is the address right? {peer.setting}",
    )


def _unusable(key_file: Path | None) -> str:
    """Why no login at all can be made with a key file, "" if one can; paramiko tells it only after
    it has reached the peer.
    """
    for kind in (paramiko.RSAKey, paramiko.ECDSAKey, paramiko.Ed25519Key):
        try:
            kind.from_private_key_file(str(key_file))
        except OSError as error:
            return error.strerror or "it cannot be read"
        except paramiko.PasswordRequiredException:
            return ""
        except (paramiko.SSHException, ValueError, IndexError):
            continue
        return ""
    return "it holds no private key of a kind that is known"


def _wrong_key(peer: Peer, shown: paramiko.PKey, known: str) -> SshRefused:
    kind = shown.get_name()
    file = f"/etc/ssh/ssh_host_{kind.removeprefix('ssh-').partition('-')[0]}_key.pub"
    return SshRefused(
        f"{peer} shows the {kind} host key {fingerprint(shown)}, known is {known}: another "
        "machine may answer; nothing was sent",
        f"compare it with `ssh-keygen -lf {file}` on the machine itself; only if they agree, "
        f"write the key to {peer.keys_in}",
    )


def _split(peer: Peer) -> tuple[str, int]:
    host, colon, port = peer.address.rpartition(":")
    if not colon or "]" in port:
        host, port = peer.address, str(DEFAULT_PORT)
    if not port.isdigit() or not host:
        raise UsageError(f"{peer.address!r} is not host:port", f"correct {peer.setting}")
    return host.strip("[]"), int(port)
