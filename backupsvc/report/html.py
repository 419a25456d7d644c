"""The report as one self-contained HTML page: no script, no outside resource, made to be printed on
A4.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from backupsvc.report import failovers, words
from backupsvc.report.document import Document
from backupsvc.report.json import totals
from backupsvc.visible import visible
from policies import i18n
from policies.compliance.objectives import Objective

_FULL = 1.5  # a bar ends at one and a half times the objective; what is worse is drawn as full


def render(document: Document) -> str:
    """Given a report, return its HTML in the report's language."""
    language, timezone = document.language, document.policy.timezone
    environment = Environment(
        loader=PackageLoader("backupsvc.report"),
        autoescape=True,
        # a name that is mistyped in the template is an error, not a hole in the report
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # each text as it goes into the page, before it is escaped
        finalize=lambda value: (
            visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
        ),
    )
    environment.filters.update(
        span=lambda seconds: (
            _dash(seconds) or i18n.typeset(i18n.duration(seconds, language), language)
        ),
        size=lambda octets: i18n.typeset(i18n.size(octets, language), language),
        moment=lambda epoch: _dash(epoch) or i18n.moment(epoch, timezone, language),
        day=lambda text: i18n.day(text, language),
    )
    template = environment.get_template("pra.html.j2")
    return template.render(
        document=document,
        totals=totals(document),
        t=lambda key, **values: words.chrome(key, language, **values),
        title=lambda id: i18n.title(id, language),
        month=words.month(document.period.month, language),
        zone=datetime.fromtimestamp(document.generated_at, ZoneInfo(timezone)).tzname(),
        bar=bar,
        away=lambda one: i18n.typeset(failovers.length(one, language), language),
        not_read=lambda one: failovers.not_read(one, language, timezone),
    )


def bar(objective: Objective | None) -> tuple[float, float] | None:
    """Given an objective, return how far its bar reaches and where its mark stands, in percent;
    None if unmeasured.
    """
    if objective is None or objective.measured is None or objective.objective <= 0:
        return None
    share = min(objective.measured / objective.objective, _FULL) / _FULL
    # what is measured shows at least a sliver: an empty bar would look like nothing known
    return (round(max(share, 0.02) * 100, 1), round(100 / _FULL, 1))


def _dash(value: object) -> str:
    return "–" if value is None else ""
