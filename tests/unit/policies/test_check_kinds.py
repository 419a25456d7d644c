"""What a good answer to each kind of check shows: a copy that lives, or a service that works."""

from __future__ import annotations

import pytest

from policies.check_kinds import CHECK_KINDS, NETWORK_KINDS, Level, asks_service, level_of


@pytest.mark.parametrize("kind", ["agent", "tcp"])
def test_law_5_an_answering_agent_and_an_open_port_are_signs_of_life_and_no_more(kind: str) -> None:
    assert level_of(kind) is Level.LIFE
    assert not asks_service([kind])


@pytest.mark.parametrize("kind", ["http", "ssh", "ldap"])
def test_a_check_that_must_be_answered_in_the_services_own_words_shows_the_service(
    kind: str,
) -> None:
    assert level_of(kind) is Level.SERVICE
    assert asks_service(["agent", kind])


def test_law_5_a_kind_that_nobody_knows_shows_the_less() -> None:
    assert level_of("gopher") is Level.LIFE
    assert not asks_service([])


def test_every_kind_but_the_agents_goes_over_the_network() -> None:
    assert set(CHECK_KINDS) - NETWORK_KINDS == {"agent"} and set(CHECK_KINDS) >= NETWORK_KINDS
    assert (
        {kind.name for kind in CHECK_KINDS.values()}
        == set(CHECK_KINDS)
        == {"agent", "tcp", "http", "ssh", "ldap"}
    )


def test_a_level_is_kept_in_the_evidence_by_these_words() -> None:
    assert [level.value for level in Level] == ["sign of life", "service"]
