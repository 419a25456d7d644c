"""The guest's own agent answers a ping: the operating system has booted. What it is, is told
along.
"""

from __future__ import annotations

from backupsvc.checks.kinds import AgentPort, Answer, CannotAsk, Kind, Target
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
    return Outcome.PASSED, f"the guest agent answers: {_system(target.agent)}"


def _system(agent: AgentPort) -> str:
    """What runs there, in a few words; an agent that answers but tells nothing of itself has still
    answered.
    """
    try:
        info = agent.osinfo()
    except PveError as error:
        return f"it does not say which system ({error.text or error.message})"
    name = info.get("pretty-name") or info.get("name") or "unnamed system"
    kernel = info.get("kernel-release")
    return f"{name}, kernel {kernel}" if kernel else str(name)


KIND = Kind("agent", ask)
