"""The YAML in which a site says what it wants, in PVE's own terms: a module a section, and
``load_policy`` for all of it.
"""

from __future__ import annotations

from policies.site.exemptions import FINDINGS
from policies.site.guests import DEFAULT_TIER
from policies.site.policy import SECTIONS, load_policy

__all__ = ["DEFAULT_TIER", "FINDINGS", "SECTIONS", "load_policy"]
