"""The way onto the isolated bridge: TCP connections through the probe, by SSH ``direct-tcpip``, and
what the probe itself knows.

Restored copies keep their production addresses there; nothing of this machine is bridged in.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterable
from types import TracebackType

import paramiko

from backupsvc.errors import BackupsvcError, RemoteUnreachable, SshRefused
from backupsvc.remote.ssh import Peer, open_client
from backupsvc.settings import ProbeSettings
from policies.silence import Heard

CHUNK = 32 * 1024  # bytes, SSH's usual packet
SEND_TIMEOUT = 30.0  # seconds that a peer may refuse to take more data
KNOCK_TIMEOUT = 5.0  # seconds; ARP gives up after three
COMMAND_TIMEOUT = 15.0  # seconds for a command in the probe
MAX_ANSWER = 1 << 20  # bytes of what a command says
# reasons for which an SSH server opens no channel (RFC 4254, 5.1)
PROHIBITED, CONNECT_FAILED = 1, 2
FORWARDING = "allow TCP forwarding there (AllowTcpForwarding yes, or no -j and -k for dropbear)"
# what a probe says of an address from which nothing came back
SILENT = ("timed out", "no route", "unreachable")


class Knock:
    """Attempts to connect that go on by themselves, a port each; nothing is said to whoever
    answers.
    """

    def __init__(self, jump: Jump, address: str, ports: Iterable[int]) -> None:
        self._heard = dict.fromkeys(ports, Heard.NOTHING)

        def knock(port: int) -> None:
            try:
                jump.connect(address, port, KNOCK_TIMEOUT).close()
            except ConnectionRefusedError:
                self._heard[port] = Heard.REFUSED
            except (OSError, BackupsvcError):
                return  # a probe that broke off tells nothing of its neighbours either
            else:
                self._heard[port] = Heard.OPEN

        for port in self._heard:
            name = f"knock {address}:{port}"
            threading.Thread(target=knock, args=(port,), name=name, daemon=True).start()

    def heard(self) -> dict[int, Heard]:
        """Return what has become of each attempt by now."""
        return dict(self._heard)


class Jump:
    """Connections through the probe. Its SSH connection is opened when it is first needed, and
    again when it has died.
    """

    def __init__(
        self, settings: ProbeSettings, what: str = "the probe", setting: str = "BACKUPSVC_PROBE"
    ) -> None:
        """``what`` names the probe in messages, ``setting`` is what its variables begin with."""
        self._peer = Peer(
            what=what,
            address=settings.host,
            user=settings.user,
            key_file=settings.key_file,
            setting=f"{setting}__HOST, __USER, __KEY_FILE, __HOST_KEY",
            pinned=settings.host_key,
            key_setting=f"{setting}__HOST_KEY",
        )
        self._lock = threading.Lock()
        self._client: paramiko.SSHClient | None = None
        self._pumps: list[threading.Thread] = []
        # why the last attempt to connect was refused: what was asked through it tells nothing
        self.refused: SshRefused | None = None
        # a knock that somebody will ask for, kept by whoever sent it
        self.under_way: object | None = None

    def __enter__(self) -> Jump:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """Given an address on the isolated bridge, return a connected socket with that timeout in
        seconds.

        Raise RemoteUnreachable or SshRefused if the probe is at fault, ConnectionRefusedError or
        TimeoutError if the address is.
        """
        transport = self._transport()
        try:
            channel = transport.open_channel(
                "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout
            )
        except paramiko.ChannelException as refused:
            if refused.code == PROHIBITED:
                raise RemoteUnreachable(
                    f"{self._peer} forbids forwarding to {address}:{port}", FORWARDING
                ) from None
            # the probe's words become what a direct connection would have raised
            text = str(refused.text)
            silent = any(words in text.lower() for words in SILENT)
            kind = TimeoutError if silent else ConnectionRefusedError
            said = f"the probe has no connection to {address}:{port}: {text or 'refused'}"
            raise kind(said) from None
        except (paramiko.SSHException, EOFError, OSError) as error:
            if not transport.is_active():
                raise self._broke_off(error) from None
            # the probe lives, and said nothing of the address
            said = f"no connection to {address}:{port} through the probe within {timeout:g} s"
            raise TimeoutError(said) from None
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout)
        pump = threading.Thread(
            target=_pump, args=(channel, theirs), name=f"jump {address}:{port}", daemon=True
        )
        self._pumps = [thread for thread in self._pumps if thread.is_alive()] + [pump]
        pump.start()
        return ours

    def knock(self, address: str, ports: Iterable[int]) -> Knock:
        """Given an address and ports, begin to connect to each and return at once; what comes of it
        is in the answer.
        """
        return Knock(self, address, ports)

    def ask(self, command: str) -> str | None:
        """Given a command, run it in the probe, in the same SSH connection, and return what it
        wrote to its standard output.

        None: this login may not run commands. Raise RemoteUnreachable if the probe does not answer,
        or not in time.
        """
        transport = self._transport()
        try:
            with contextlib.closing(transport.open_session(timeout=COMMAND_TIMEOUT)) as channel:
                channel.settimeout(COMMAND_TIMEOUT)
                channel.exec_command(command)
                said = b""
                while len(said) < MAX_ANSWER and (piece := channel.recv(CHUNK)):
                    said += piece
                return said.decode("utf-8", "replace")
        except TimeoutError:
            raise RemoteUnreachable(
                f"{self._peer} did not answer a command within {COMMAND_TIMEOUT:g} s", "is it well?"
            ) from None
        except (paramiko.SSHException, EOFError, OSError) as error:
            # the connection stands, so that it is the command which this login may not run
            if transport.is_active():
                return None
            raise self._broke_off(error) from None

    def close(self) -> None:
        """End the SSH connection and every connection through it."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None
        for pump in self._pumps:
            pump.join(SEND_TIMEOUT)
        self._pumps = []

    def _broke_off(self, error: Exception) -> RemoteUnreachable:
        said = str(error) or type(error).__name__
        return RemoteUnreachable(
            f"{self._peer} broke the connection off: {said}", "is the probe still up?"
        )

    def _transport(self) -> paramiko.Transport:
        with self._lock:
            transport = self._client.get_transport() if self._client else None
            if transport is None or not transport.is_active():
                if self._client is not None:
                    self._client.close()
                self._client = None
                try:
                    self._client = open_client(self._peer)
                    self.refused = None
                except SshRefused as refused:
                    self.refused = refused
                    raise
                transport = self._client.get_transport()
            assert transport is not None, "a connected SSH client has a transport"
            return transport


def _pump(channel: paramiko.Channel, inner: socket.socket) -> None:
    """Carry bytes both ways until either side is gone. Each side's end of sending is passed on, as
    TCP does.
    """
    channel.settimeout(SEND_TIMEOUT)
    poller = select.poll()
    poller.register(channel.fileno(), select.POLLIN)
    poller.register(inner, select.POLLIN)
    with (
        contextlib.suppress(OSError, EOFError),
        contextlib.closing(inner),
        contextlib.closing(channel),
    ):
        while True:
            for descriptor, events in poller.poll():
                if descriptor == inner.fileno():
                    data = inner.recv(CHUNK) if events & select.POLLIN else b""
                    if data:
                        channel.sendall(data)
                    elif events & select.POLLHUP:
                        # our side is gone altogether: a half-closed one gives POLLIN alone
                        return
                    else:
                        channel.shutdown_write()
                        poller.modify(inner, 0)  # POLLHUP is reported all the same
                elif data := channel.recv(CHUNK):
                    inner.sendall(data)
                else:
                    inner.shutdown(socket.SHUT_WR)
                    poller.unregister(channel.fileno())
                    # nothing can follow in either direction
                    if channel.closed:
                        return
