"""What a finding is made of: its id, how bad each of its forms is, and the function that finds it.
Its sentences are in i18n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from policies.compliance.facts import GuestFacts, SiteFacts
from policies.i18n.sentences import Word
from policies.model import Policy, Severity


@dataclass(frozen=True, slots=True)
class Seen:
    """One case of a finding. ``subject`` is what it is about, ``values`` fill its sentence (see
    policies.i18n.sentences).

    ``form`` is which of the finding's sentences fits, "" for the plain one. ``waits``: if the node
    of the guest ``vmid`` does not answer (without a VMID: any node), nothing can be done about it
    before that node is back.
    """

    subject: str | Word
    values: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    form: str = ""
    vmid: int | None = None
    waits: bool = False


def about(guest: GuestFacts, form: str = "", *, waits: bool = False, **values: object) -> Seen:
    """Given a guest and the values of the sentence, return the case of a finding about that
    guest.
    """
    return Seen(f"{guest.vmid} {guest.name}".strip(), values, form, guest.vmid, waits)


@dataclass(frozen=True, slots=True)
class Rule:
    """One finding. ``find`` looks at facts, policy and the time alone, and yields nothing where the
    thing is right.

    ``severity`` is that of every form which ``forms`` does not name. ``exemptable``: whether the
    policy may accept it.
    """

    id: str
    severity: Severity
    find: Callable[[SiteFacts, Policy, int], Iterable[Seen]]
    forms: Mapping[str, Severity] = field(default_factory=lambda: MappingProxyType({}))
    exemptable: bool = True

    def severity_of(self, form: str) -> Severity:
        """Given one of its forms, return how bad that is."""
        return self.forms.get(form, self.severity)

    def key(self, form: str) -> str:
        """Given one of its forms, return the key of its sentence."""
        return f"{self.id}.{form}" if form else self.id
