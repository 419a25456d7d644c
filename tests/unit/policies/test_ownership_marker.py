"""The marker by which a copy is known: it stands in configs that an earlier version wrote, so it
does not change.
"""

from __future__ import annotations

from policies import ownership


def test_law_1_the_marker_is_what_it_always_was() -> None:
    assert ownership.marker("01JZ") == "backupsvc-scratch-copy-of-operation-01JZ"


def test_law_1_a_guest_without_a_description_bears_no_marker() -> None:
    assert not ownership.marked({}, "01JZ") and not ownership.marked({"description": ""}, "")
    assert ownership.marked({"description": f" {ownership.marker('01JZ')} \nmore"}, "01JZ")


def test_law_1_the_word_of_the_service_that_made_a_copy_is_what_it_always_was() -> None:
    assert ownership.mark("01JZ", "abc").splitlines()[1:] == [
        "backupsvc-scratch-copy-of-service-abc"
    ]
    assert ownership.service_of({"description": "backupsvc-scratch-copy-of-service-abc"}) == "abc"
