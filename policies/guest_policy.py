"""What is wanted of a guest: what the policy says of it, else the defaults."""

from __future__ import annotations

from dataclasses import replace

from policies.model import CheckSpec, GuestPolicy, Policy

AGENT = CheckSpec("agent", "agent")


def policy_for(policy: Policy, vmid: int, name: str) -> GuestPolicy:
    """Given a VMID and the guest's name in the cluster, return what is wanted of it: as written,
    else the defaults.

    The defaults: the default tier, the check ``agent``, links down. A name that the policy leaves
    out is the cluster's.
    """
    written = policy.guests.get(vmid)
    if written is None:
        return GuestPolicy(vmid, name, policy.default_tier, checks=(AGENT,))
    return written if written.name else replace(written, name=name)
