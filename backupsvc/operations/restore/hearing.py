"""Whether somebody answers at the addresses of a guest, asked from this machine on the real network,
and who.

It changes nothing and remembers nothing, so that whoever brings a guest back, in whichever way, can
ask it before a start and after it.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace

from backupsvc.copies.config_sets import kept_in, read
from backupsvc.errors import ArchiveError, CopyError
from backupsvc.operations.services import Nodes
from policies import restore_silence, silence
from policies.guest_policy import policy_for
from policies.model import CheckResult
from policies.pve.guest_config import parse_config
from policies.restore_silence import Address, Look
from policies.silence import Finding, Table, Verdict
from policies.surroundings import whose

# seconds for which attempts are out: a neighbour answers within milliseconds, and the short look only
# asks whether anybody came since the long one
LONG, SHORT = 1.0, 0.5
PAUSE = 1.0  # seconds between two questions about an entry that may be old
NOT_HERE = "the guests' network is not this machine's (BACKUPSVC_GUEST_NETWORK, or a lab)"
# what the kernel says when there is no use in asking again
_NO_WAY = (errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def addresses(service: Nodes, vmid: int, archived: str) -> tuple[Address, ...]:
    """Given a guest and the text of the configuration in its archive, return the addresses that are
    known of it: the policy's, and those that its cloud-init gives it, by the archive and by the
    newest configuration of the cluster that is kept here with that machine in it.
    """
    configs = [("in its archive", parse_config(archived))]
    # what is kept is a help: a folder that cannot be read keeps nobody from being brought back
    with suppress(CopyError):
        for _, path in sorted(kept_in(service.settings.state_dir).items(), reverse=True):
            try:
                config = read(path)
            except ArchiveError:
                continue
            text = config.files.get(f"guests/qemu-{vmid}.conf")
            if text is not None and whose.in_set(config, vmid, archived) is None:
                configs.append(("in the cluster's kept configuration", parse_config(text)))
                break
    return restore_silence.addresses(policy_for(service.policy, vmid, ""), configs)


def listen(service: Nodes, asked: Iterable[Address], seconds: float = LONG) -> tuple[Look, ...]:
    """Given addresses and the seconds that each has to answer, return what is found at each now. It
    takes as long, unless somebody answers sooner or an old word must be asked anew, and raises
    nothing.
    """
    here, clock = service.here, service.clock
    looks = []
    for address in asked:
        found, began = Finding(Verdict.UNKNOWN, NOT_HERE), clock.monotonic()
        while here:
            heard = here.knock(address.ip, address.ports, seconds)
            out = clock.monotonic() - began
            found = restore_silence.judge(address, heard, here.neighbour(address.ip), out)
            if found.verdict is not Verdict.UNSETTLED:
                break
            if out > silence.ASKED_ANEW:
                found = replace(found, verdict=Verdict.UNKNOWN)
                break
            clock.sleep(PAUSE)
        looks.append(Look(address, found, int(clock.now())))
    return tuple(looks)


class Way:
    """The way from this machine to a guest's services, for its checks: what does not get through is
    told as that, and not held against the guest. ``may_pass``: the last attempt got no answer that
    says that asking again is of no use.
    """

    def __init__(self, service: Nodes, address: str | None) -> None:
        """``address`` is the guest's, as the policy has it."""
        self._here, self.may_pass, self._ip = service.here, False, ""
        with suppress(ValueError):
            self._ip = str(ipaddress.ip_address(address or ""))

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """Given an address, a port and seconds, return a connected socket. Raise CannotAsk if the
        attempt got no answer, ConnectionRefusedError if it was refused.
        """
        from backupsvc.checks.kinds import CannotAsk

        if self._here is None:
            raise CannotAsk(NOT_HERE)
        try:
            return self._here.connect(address, port, timeout)
        except ConnectionRefusedError:
            raise
        except OSError as error:
            self.may_pass = error.errno not in _NO_WAY
            said = error.strerror or f"no answer within {timeout:g} s"
            raise CannotAsk(
                f"this machine does not get through to {address}:{port}: {said}"
            ) from None

    def sees(self) -> bool:
        """Return whether the address is on a network of this machine, which then knows the MAC behind
        it.
        """
        table = self._neighbour()
        return table is not None and table.way is silence.Way.ON_LINK

    def counted(
        self, result: CheckResult, looks: Iterable[Look], macs: Collection[str]
    ) -> CheckResult:
        """Given the answer of a check, return it, or inconclusive where it may not be the guest's:
        see ``policies.restore_silence.counted``.
        """
        return restore_silence.counted(result, self._ip, looks, self._neighbour(), macs)

    def _neighbour(self) -> Table | None:
        return self._here.neighbour(self._ip) if self._here and self._ip else None
