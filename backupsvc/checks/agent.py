"""The guest's own agent answers a ping: the operating system has booted. What it is, is told
along.
"""

from __future__ import annotations

from backupsvc.checks.kinds import Answer, CannotAsk, Kind, Target
from backupsvc.errors import PveError
from policies.model import CheckSpec, Outcome


def ask(spec: CheckSpec, target: Target) -> Answer:
    """Given a guest's agent, ping it. Raise CannotAsk if the guest has none."""
    if target.agent is None:
        raise CannotAsk(
            f"guest {target.vmid} has no agent configured: install qemu-guest-agent in it and set "
            "agent=1"
        )
    if not target.agent.ping():
        return Outcome.FAILED, "the guest agent does not answer"
    try:
        info = target.agent.osinfo()
    except PveError as error:
        # an agent that tells nothing of itself has still answered
        why = error.text or error.message
        return Outcome.PASSED, f"the guest agent answers: it does not say which system ({why})"
    system = str(info.get("pretty-name") or info.get("name") or "unnamed system")
    if kernel := info.get("kernel-release"):
        system += f", kernel {kernel}"
    return Outcome.PASSED, f"the guest agent answers: {system}"


KIND = Kind("agent", ask)
