"""A TCP port accepts connections."""

from __future__ import annotations

from backupsvc.checks.kinds import NEEDED_PORT, Answer, Kind, Target
from backupsvc.checks.wire import connection, why
from policies.model import CheckSpec, Outcome


def ask(spec: CheckSpec, target: Target) -> Answer:
    """Given a port, connect to it once."""
    port = int(str(spec.options["port"]))
    try:
        with connection(target, port, spec.timeout):
            # an open port is a sign of life, and no answer of a service (law 5): nothing is read
            return Outcome.PASSED, f"{target.address}:{port} accepts connections"
    except OSError as error:
        return Outcome.FAILED, f"{target.address}:{port}: {why(error, spec.timeout)}"


KIND = Kind("tcp", ask, {"port": NEEDED_PORT})
