"""Failovers that nobody asked for: collected from each node, told by the report in both languages,
and never "none" because nobody looked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from backupsvc.catalog import Catalog
from backupsvc.catalog.operations import NewOperation
from backupsvc.cli import ha_failovers
from backupsvc.errors import PveError, PvePermissionDenied, UsageError
from backupsvc.pve.ha_history import NodeClock
from backupsvc.report import failovers, html, json
from backupsvc.report.document import build
from policies.compliance.facts import Gap
from policies.ha.failovers import REACH, Answer, Failover, Failovers, Unread, Why
from policies.model import Node
from tests.catalogs import new_catalog
from tests.fakes.clock import StoppedClock
from tests.unit.report.langeo import NOW, PARIS, archive, at, changed, documented, policy
from tests.unit.report.worlds import World, served

MONTH = at("2026-03-01 00:00")
GONE = at("2026-03-05 02:00")
LOGS = {node: f"nodes/{node}/syslog" for node in ("clovis", "lge-pve02")}
DAYS = 30 * 86400


def line(epoch: int, text: str, node: str = "lge-pve02") -> str:
    when = datetime.fromtimestamp(epoch, ZoneInfo(PARIS))
    return f"{when:%b %d %H:%M:%S} {node} pve-ha-crm[9]: {text}"


def world(*texts: tuple[int, str]) -> World:
    """The reference site, both of whose clocks are right, with the log of each node's manager."""
    made = World()
    made.offsets = dict.fromkeys(made.offsets, 0.0)
    for node, path in LOGS.items():
        boot = line(NOW - 2 * DAYS, "status change startup => wait_for_quorum", node)
        told = [boot, *(line(*one) for one in texts)] if node == "lge-pve02" else [boot]
        made.told[path] = [{"n": n, "t": text} for n, text in enumerate(told, 1)]
        clock = {"time": NOW, "localtime": NOW + 3600, "timezone": "Europe/Paris"}
        made.told[f"nodes/{node}/time"] = clock
        made.told[f"nodes/{node}/tasks"] = []
    made.told["cluster/log"] = [{"node": "clovis", "time": GONE - 40, "msg": "x"}]
    return made


FAILOVER = (
    (GONE, "node 'clovis': state changed from 'online' => 'unknown'"),
    (GONE + 120, "fencing: acknowledged - got agent lock for node 'clovis'"),
    (GONE + 120, "recover service 'vm:108' from fenced node 'clovis' to node 'lge-pve02'"),
)


def started(made: World) -> World:
    upid = f"UPID:lge-pve02:00001F2A:0006106A:{GONE + 125:08X}:qmstart:108:root@pam:"
    row = {"upid": upid, "endtime": GONE + 130, "status": "OK"}
    made.told["nodes/lge-pve02/tasks"] = [row]
    return made


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(new_catalog(tmp_path)) as opened:
        yield opened


def asked(made: World, catalog: Catalog, since: int = NOW - DAYS) -> Failovers:
    service: Any = SimpleNamespace(pve=served(made), catalog=catalog, clock=StoppedClock(NOW))
    return failovers.ask(service, since)


def test_a_failover_is_read_in_the_log_of_whoever_was_master_and_in_the_tasks(
    catalog: Catalog,
) -> None:
    found = asked(started(world(*FAILOVER)), catalog)
    assert (found.answer, found.whole, found.unread) == (Answer.SEEN, True, ())
    (one,) = found.found
    assert (one.sid, one.source, one.target, one.alive) == (
        "vm:108", "clovis", "lge-pve02", GONE - 40,
    )  # fmt: skip
    assert (one.least, one.most) == (130, 170)
    assert asked(world(), catalog).answer is Answer.NONE


def test_law_4_what_was_not_read_is_told_and_never_none(catalog: Catalog) -> None:
    for error, why in (
        (PvePermissionDenied("Permission check failed (/nodes/clovis, Sys.Syslog)"), Why.RIGHT),
        (PveError("got timeout"), Why.FAILED),
    ):
        made = world()
        made.refuse["syslog clovis"] = error
        found = asked(made, catalog)
        assert found.answer is Answer.UNKNOWN
        assert found.unread == (Unread("clovis", why, detail=error.message),), why
    made = world()
    made.node_list[0] = Node("clovis", False)
    assert asked(made, catalog).unread == (Unread("clovis", Why.OFFLINE),)
    made = world()
    made.told[LOGS["clovis"]] = [{"n": 1, "t": "no content"}]
    assert asked(made, catalog).unread == (Unread("clovis", Why.SHORT),)
    made = world()
    made.refuse["cluster/log"] = PveError("no")  # a sign of life less is no gap
    assert asked(made, catalog).answer is Answer.NONE


def test_law_4_a_node_that_was_a_member_and_is_none_any_more_has_its_log_with_it(
    catalog: Catalog,
) -> None:
    gone = (Unread("dead", Why.GONE),)
    made = world()
    made.told["cluster/log"] = [{"node": "dead", "time": GONE, "msg": "x"}]
    found = asked(made, catalog)
    assert (found.answer, found.unread, found.known_since) == (Answer.UNKNOWN, gone, None)
    made.told["cluster/log"] = [{"node": "dead", "time": NOW - DAYS - 1, "msg": "x"}]
    assert asked(made, catalog).answer is Answer.NONE, "it went before the time that is asked for"
    # an archive of it, whether a storage still lists it or not
    one = archive(108, GONE, "dead")
    for listing in ([one], []):
        catalog.archives.observe(listing, scope=[("dead", "local")], at=NOW)
        assert asked(world(), catalog).unread == gone, listing
        assert asked(world(), catalog, GONE + 1).answer is Answer.NONE
    failed = asked(started(world(*FAILOVER)), catalog)
    assert (failed.answer, failed.whole, failed.unread) == (Answer.SEEN, False, gone)


@pytest.mark.parametrize(
    ("kind", "node", "counts"),
    [
        ("backup", "dead", True),
        ("restore", "dead", True),
        ("recover", "dead", True),
        ("backup", "clovis", False),
        ("backup", None, False),
        ("backup", 7, False),
        # of an archive that may be as old as it likes
        ("restore-test", "dead", False),
    ],
)
def test_law_4_a_node_that_an_operation_was_on_is_known_to_have_been_a_member(
    catalog: Catalog, kind: str, node: object, counts: bool
) -> None:
    assert catalog.operations.open(NewOperation(kind, 108, "x", {"node": node}), GONE)
    assert asked(world(), catalog).unread == ((Unread("dead", Why.GONE),) if counts else ())
    assert asked(world(), catalog, GONE + 1).answer is Answer.NONE


def test_what_is_so_old_that_its_lines_would_be_dated_a_year_late_is_not_asked_for(
    catalog: Catalog,
) -> None:
    made = world()
    for path in LOGS.values():
        made.told[path] = [{"n": 1, "t": line(NOW - REACH - 5, "x")}]
    reached = asked(made, catalog, NOW - REACH)
    assert (reached.answer, reached.known_since) == (Answer.NONE, NOW - REACH - 5)
    found = asked(made, catalog, NOW - 400 * 86400)
    assert (found.answer, found.known_since) == (Answer.UNKNOWN, NOW - REACH)
    assert {(one.node, one.why, one.since) for one in found.unread} == {
        (node, Why.SHORT, NOW - REACH) for node in LOGS
    }
    wanted: list[int] = []
    service: Any = SimpleNamespace(pve=served(made), catalog=catalog, clock=StoppedClock(NOW))
    read = service.pve.ha_history.manager_log

    def noted(node: str, clock: NodeClock, since: int) -> Any:
        wanted.append(since)
        return read(node, clock, since)

    service.pve.ha_history.manager_log = noted
    failovers.ask(service, NOW - 400 * 86400)
    assert wanted == [NOW - REACH] * 2


def test_a_site_without_anything_under_ha_is_asked_nothing(catalog: Catalog) -> None:
    service: Any = SimpleNamespace(pve=served(world()), catalog=catalog, clock=StoppedClock(NOW))
    facts = documented()
    assert failovers.of_site(service, facts, MONTH) is not None
    none = changed(facts, 108, ha_managed=False)
    assert failovers.of_site(service, none, MONTH) is None
    unread = replace(none, gaps=(Gap("ha", "", "no right"),))
    assert failovers.of_site(service, unread, MONTH) is not None


SEEN = Failover(
    "vm:108", 108, "clovis", "lge-pve02", GONE - 40, GONE, GONE + 120, GONE + 120, GONE + 130,
    "lge-pve02", sources=("lge-pve02: pve-ha-crm",),
)  # fmt: skip


def page(found: Failovers | None, language: str, **changes: Any) -> str:
    facts = replace(documented(), failovers=found, **changes)
    document = build(facts, replace(policy(), language=language), "2026-03", NOW)
    return html.render(document).replace("\u202f", " ").replace("\u00a0", " ")


def test_the_report_tells_a_failover_with_its_length_in_both_languages_and_in_json() -> None:
    found = Failovers(Answer.SEEN, MONTH, NOW, (SEEN,), (), MONTH - 1)
    assert "2 min 10 s at least, 2 min 50 s at most" in page(found, "en")
    assert "au moins 2 min 10 s, au plus 2 min 50 s" in page(found, "fr")
    assert "from clovis to lge-pve02" in page(found, "en")
    assert "there may have been others" not in page(found, "en")
    facts = replace(documented(), failovers=found)
    told = json.full(build(facts, policy(), "2026-03", NOW))["failovers"]
    assert (told["answer"], told["failovers"][0]["at_least_seconds"]) == ("seen", 130)
    assert told["failovers"][0]["missed"] == "2026-03-05T01:00:00Z"
    # what is of another month is not this report's
    before = json.full(build(facts, policy(), "2026-02", NOW))["failovers"]
    assert (before["answer"], before["failovers"]) == ("not-known", [])


def test_a_start_by_somebody_else_is_told_as_such_everywhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    helped = replace(SEEN, started_by="svc@pve!<b1>")
    found = Failovers(Answer.SEEN, MONTH, NOW, (helped,), (), MONTH - 1)
    assert "by svc@pve!&lt;b1&gt;, not by HA" in page(found, "en")
    assert "par svc@pve!&lt;b1&gt;, non par la HA" in page(found, "fr")
    ha_failovers.show(found, "Europe/Paris")
    assert "on lge-pve02 by svc@pve!<b1>, not by HA" in capsys.readouterr().out
    assert failovers.failover_as_dict(helped)["started_by"] == "svc@pve!<b1>"
    own = replace(found, found=(replace(SEEN, started_by="root@pam"),))
    assert "not by HA" not in page(own, "en")
    ha_failovers.show(own, "Europe/Paris")
    assert "not by HA" not in capsys.readouterr().out


def test_the_report_says_none_only_where_all_was_read_and_else_what_was_not() -> None:
    none = Failovers(Answer.NONE, MONTH, NOW, (), (), MONTH - 1)
    assert "None: the log of HA was read on every node" in page(none, "en")
    assert "Aucune : le journal de la HA a été lu sur chaque nœud" in page(none, "fr")
    lacking = (Unread("clovis", Why.RIGHT), Unread("lge-pve02", Why.FAILED, detail="403 <b>"))
    blind = Failovers(Answer.UNKNOWN, MONTH, NOW, (), (), None, lacking)
    for language, words in (("en", "Not known whether HA took"), ("fr", "On ne sait pas si la HA")):
        text = page(blind, language)
        assert words in text and "Sys.Syslog" in text and "403 &lt;b&gt;" in text
        assert "every node" not in text and "chaque nœud" not in text
    part = replace(blind, answer=Answer.SEEN, found=(replace(SEEN, started=None),))
    assert "there may have been others" in page(part, "en")
    assert "no start that ended well is listed" in page(part, "en")
    assert "Not known: the log of HA was not read" in page(None, "en")
    without = changed(documented(), 108, ha_managed=False)
    assert "No guest is under high availability now" in page(None, "en", guests=without.guests)


@pytest.mark.parametrize(
    ("why", "since", "english", "french"),
    [
        (Why.OFFLINE, None, "clovis is off", "clovis est arrêté"),
        (Why.SHORT, None, "holds nothing of HA any more", "ne contient plus rien"),
        (Why.SHORT, GONE, "goes back to 2026-03-05 02:00", "remonte au 05/03/2026"),
        (Why.FAILED, None, "could not be read: odd", "n'a pas pu être lu"),
        (Why.GONE, None, "clovis is no member", "clovis n'est plus membre"),
        (Why.RIGHT, None, "Sys.Syslog on /", "Sys.Syslog sur /"),
    ],
)
def test_each_reason_why_a_log_was_not_read_has_its_sentence(
    why: Why, since: int | None, english: str, french: str
) -> None:
    one = Unread("clovis", why, since, "odd")
    assert english in failovers.not_read(one, "en", "Europe/Paris")
    told = failovers.not_read(one, "fr", "Europe/Paris").replace("\u202f", " ")
    assert french in told.replace("\u00a0", " ")


def test_a_length_is_said_from_the_sides_from_which_it_is_known() -> None:
    for change, told in (
        ({"alive": None}, "2 min 10 s at least"),
        ({"missed": None, "fenced": None, "taken": None}, "2 min 50 s at most"),
        ({"missed": None, "fenced": None, "taken": None, "alive": None}, "not known"),
    ):
        assert failovers.length(replace(SEEN, **change), "en") == told  # type: ignore[arg-type]


def test_the_command_tells_a_question_as_one_and_a_day_that_is_none_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    odd = replace(SEEN, missed=None, fenced=None, taken=None, certain=False)
    found = Failovers(Answer.UNKNOWN, MONTH, NOW, (), (odd,), None)
    ha_failovers.show(found, "Europe/Paris")
    out = capsys.readouterr().out
    assert "whether HA took anything over is not known" in out
    assert "or somebody moved it by hand (2026-03-05 02:02)" in out
    assert ha_failovers._first("2026-03-01", "Europe/Paris", NOW) == MONTH
    assert ha_failovers._first(None, "Europe/Paris", NOW) == NOW - DAYS
    for wrong in ("yesterday", "2026-13-01", "2099-01-01", "1969-01-01"):
        with pytest.raises(UsageError):
            ha_failovers._first(wrong, "Europe/Paris", NOW)
