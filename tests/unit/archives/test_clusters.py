"""The set of seen clusters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.archives.clusters import PAGE, ClusterSet

from .build import unhurried


@pytest.mark.slow
@unhurried
@given(count=st.integers(1, 3 * PAGE), data=st.data())
def test_it_agrees_with_a_plain_set(count: int, data: st.DataObject) -> None:
    added = data.draw(st.lists(st.integers(0, count - 1), max_size=50))
    seen, plain = ClusterSet(count), set()
    for cluster in added:
        assert seen.add(cluster) is (cluster not in plain)
        plain.add(cluster)
    missing = sorted(set(range(count)) - plain)
    assert seen.missing() == (missing[0] if missing else 0, len(missing))


def test_a_full_page_is_forgotten_but_still_knows_duplicates() -> None:
    seen = ClusterSet(2 * PAGE + 5)
    for cluster in range(2 * PAGE + 5):
        assert seen.add(cluster)
    assert seen.missing() == (0, 0)
    assert not seen.add(PAGE + 7)
    assert not seen.add(2 * PAGE + 4)
    assert not seen._pages, "what is complete takes no memory"


def test_a_disk_of_256_tib_costs_no_memory_until_its_clusters_come() -> None:
    seen = ClusterSet(2**32)
    assert seen.add(2**32 - 1)
    assert len(seen._pages) == 1
    assert seen.missing() == (0, 2**32 - 1)
