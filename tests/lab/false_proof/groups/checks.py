"""Nothing was asked, or nothing could be, or what was asked shows no more than that something
lives.
"""

from __future__ import annotations

from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import Arrangement, Cell, policy

_CHECKS = {
    105: "checks: [{http: {port: 80, path: /login, status: 200, contains: Kanboard}}]",
    108: "checks: [ssh, {http: {port: 80, path: /, status: 200}}]",
}


def asked(vmid: int, checks: str) -> Arrangement:
    """The guest's policy has these checks and no others."""

    def edit(text: str) -> str:
        assert _CHECKS[vmid] in text
        return text.replace(_CHECKS[vmid], f"checks: {checks}")

    return policy(edit)


CELLS = (
    Cell("none", 108, asked(108, "[]"), "inconclusive", None, 1, "no health check"),
    Cell(
        "none, of a guest with an agent",
        105,
        asked(105, "[]"),
        "inconclusive",
        None,
        1,
        "no-service-check: no health check",
    ),
    Cell(
        "only inconclusive",
        108,
        asked(108, "[agent]"),
        "inconclusive",
        None,
        1,
        "no agent configured",
    ),
    Cell(
        "only its agent's ping",
        105,
        asked(105, "[agent]"),
        "inconclusive",
        None,
        1,
        "no-service-check: only signs of life",
    ),
    Cell(
        "only an open port",
        108,
        asked(108, "[{tcp: 22}]"),
        "inconclusive",
        None,
        1,
        "no-service-check: only signs of life",
    ),
    Cell(
        "an agent and an open port",
        105,
        asked(105, "[agent, {tcp: 80}]"),
        "inconclusive",
        None,
        1,
        "agent, tcp 80",
    ),
    Cell(
        "no directory behind the port",
        108,
        asked(108, "[ssh, {ldap: 80}]"),
        "failed",
        "service",
        1,
        "LDAP|ended|end",
    ),
    Cell(
        "TLS is not spoken",
        108,
        asked(108, "[ssh, {http: {port: 80, tls: true}}]"),
        "failed",
        "service",
        1,
        "https://",
    ),
    Cell("the probe does not answer", 108, cells.no_probe, "inconclusive", "network", 1, ""),
)
