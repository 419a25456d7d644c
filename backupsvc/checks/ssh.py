"""An SSH server greets as one. Nobody logs in."""

from __future__ import annotations

from backupsvc.checks.kinds import PORT, Answer, Kind, Target
from backupsvc.checks.wire import connection, printable, why
from policies.model import CheckSpec, Outcome

DEFAULT_PORT = 22
GREETING = b"SSH-2.0-"
MAX_PREAMBLE = 8 * 1024  # bytes of other lines that a server may send first (RFC 4253, 4.2)


def ask(spec: CheckSpec, target: Target) -> Answer:
    """Given a port (22), wait for the server's greeting."""
    port = int(str(spec.options.get("port", DEFAULT_PORT)))
    where = f"{target.address}:{port}"
    said = b""
    try:
        with connection(target, port, spec.timeout) as sock:
            # up to the end of the greeting's line: a server may send others before it
            while len(said) < MAX_PREAMBLE:
                piece = sock.recv(1024)
                said += piece
                if not piece or any(
                    line.startswith(GREETING) and line.endswith(b"\n")
                    for line in said.splitlines(keepends=True)
                ):
                    break
    except OSError as error:
        return Outcome.FAILED, f"{where}: {why(error, spec.timeout)}"
    lines = said.splitlines()
    if greeting := next((line for line in lines if line.startswith(GREETING)), None):
        return Outcome.PASSED, f"{where} greets with {printable(greeting)}"
    return (
        Outcome.FAILED,
        f"{where} does not greet as an SSH server: {printable(said) or 'it said nothing'}",
    )


KIND = Kind("ssh", ask, {"port": PORT})
