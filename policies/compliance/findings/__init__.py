"""The findings, a module each, and the one tuple of them.

Whatever module lies here is a finding, so that none can be forgotten. They are told in the order in
which the catalogue of sentences has them; one without a sentence cannot be imported.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from policies.compliance.rule import Rule
from policies.i18n import en

_ORDER = list(dict.fromkeys(key.partition(".")[0] for key in en.FINDINGS))

RULES: tuple[Rule, ...] = tuple(
    sorted(
        (import_module(f"{__name__}.{module.name}").RULE for module in iter_modules(__path__)),
        key=lambda rule: _ORDER.index(rule.id),
    )
)
