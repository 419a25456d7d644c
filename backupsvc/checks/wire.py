"""A connection to the restored copy, for one attempt, with a deadline that even a dripping answer
cannot outlive.

With TLS the certificate is NOT verified: the copy sits alone on the isolated bridge, where names do
not resolve, time may be off and no CA answers; nothing secret is sent. What the certificate says is
told along.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

from backupsvc.checks.kinds import CannotAsk, Target


@contextlib.contextmanager
def connection(
    target: Target, port: int, timeout: float, *, tls: bool = False, host: str | None = None
) -> Iterator[socket.socket]:
    """Given a target and a port, yield a connected socket which is shut when ``timeout`` seconds
    have passed.

    With ``tls`` it speaks TLS, and ``host`` is the name that is asked for (SNI). Raise CannotAsk if
    there is no way to the guest's network, OSError if the guest refuses, stays silent or does not
    speak TLS.
    """
    if target.connect is None:
        raise CannotAsk(
            "nothing reaches the isolated bridge: configure the node's probe "
            "(BACKUPSVC_PROBES__NODE__HOST) and network: isolated"
        )
    if target.address is None:
        raise CannotAsk(
            f"the policy names no address for guest {target.vmid}: add `address:` to it"
        )
    with contextlib.ExitStack() as ends:
        sock = ends.enter_context(target.connect(target.address, port, timeout))
        held, late = [sock], threading.Event()
        timer = threading.Timer(timeout, _shut, (held, late))
        timer.daemon = True
        timer.start()
        try:
            if tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                sock = ends.enter_context(
                    context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
                )
                # It takes the plain socket's place, so it is held before the handshake, which is
                # where a guest can keep us waiting.
                held.append(sock)
                if late.is_set():
                    raise TimeoutError
                sock.do_handshake()
            yield sock
        finally:
            timer.cancel()
            # whatever it looked like from inside: an end of file, half an answer, a reset
            if late.is_set():
                raise TimeoutError


def certificate(sock: socket.socket) -> str:
    """Given a connected socket, return whose certificate it showed and until when that is valid; ""
    without TLS.
    """
    from cryptography import x509

    der = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
    if der is None:
        return ""
    try:
        shown = x509.load_der_x509_certificate(der)
        subject, until = shown.subject.rfc4514_string() or "nobody", shown.not_valid_after_utc
    except ValueError:
        return "a certificate that cannot be read"
    return f"certificate of {printable(subject.encode())}, valid until {until:%Y-%m-%d}"


def why(error: OSError, timeout: float) -> str:
    """Given what a connection ended with, return it as a phrase."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    return error.strerror or str(error) or type(error).__name__


def printable(data: bytes, limit: int = 120) -> str:
    """Given bytes that a guest sent, return them safe for a terminal and a report, cut at ``limit``
    characters.
    """
    said = "".join(
        character if character.isprintable() else " "
        for character in data.decode("utf-8", "replace")
    )
    said = " ".join(said.split())
    return said if len(said) <= limit else f"{said[: limit - 1]}…"


def _shut(held: list[socket.socket], late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):  # it may have been closed meanwhile
        # the plain socket's own: TLS's would take away what a reader in another thread is still
        # using
        socket.socket.shutdown(held[-1], socket.SHUT_RDWR)
