"""What differs between two kept configurations: all that changed, and nothing that was only not
read.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from policies.cluster_config import ConfigSet
from policies.config_diff import Change, FileDiff, diff, not_compared

WEB = "guests/qemu-108.conf"
OLD = ConfigSet(
    {
        "storage.cfg": "dir: local\n\tcontent backup\n\tpath /a\n\nnfs: nas\n\tserver x\n",
        WEB: "#web\nmemory: 1024\nname: web\n",
        "datacenter.cfg": "keyboard: fr\nlanguage: fr\n",
    }
)


def with_(file: str, text: str | None, **more: dict[str, str]) -> ConfigSet:
    files = {path: was for path, was in OLD.files.items() if path != file}
    return ConfigSet(files | ({file: text} if text is not None else {}), **more)


def test_what_is_the_same_differs_in_nothing() -> None:
    assert diff(OLD, OLD) == [] and not_compared(OLD, OLD) == {}


def test_a_line_that_changed_is_told_with_the_section_that_it_stands_in() -> None:
    new = with_("storage.cfg", "dir: local\n\tcontent backup\n\tpath /b\n\nnfs: nas\n\tserver x\n")
    assert diff(OLD, new) == [
        FileDiff("storage.cfg", Change.CHANGED, ("dir: local: path /b",), ("dir: local: path /a",))
    ]
    (found,) = diff(OLD, with_(WEB, "#web\nmemory: 2048\nname: web\n"))
    assert (found.added, found.removed) == (("memory: 2048",), ("memory: 1024",))


def test_files_come_and_go_with_all_their_lines() -> None:
    gone = FileDiff(WEB, Change.REMOVED, (), ("#web", "memory: 1024", "name: web"))
    assert diff(OLD, with_(WEB, None)) == [gone]
    (back,) = diff(with_(WEB, None), OLD)
    assert (back.change, back.added) == (Change.ADDED, gone.removed)


def test_the_same_lines_in_another_order_or_more_often_are_a_difference() -> None:
    (found,) = diff(OLD, with_(WEB, "name: web\n#web\nmemory: 1024\n"))
    assert (found.change, found.said) == (Change.CHANGED, "the same lines stand in another order")
    (found,) = diff(OLD, with_(WEB, "#web\n#web\nmemory: 1024\nname: web\n"))
    assert found.added == ("#web",)


def test_a_line_that_moved_into_another_section_is_a_difference() -> None:
    new = with_("storage.cfg", "dir: local\n\tcontent backup\n\nnfs: nas\n\tpath /a\n\tserver x\n")
    (found,) = diff(OLD, new)
    assert (found.added, found.removed) == (("nfs: nas: path /a",), ("dir: local: path /a",))


def test_what_was_not_read_is_not_gone_and_what_is_read_again_is_not_new() -> None:
    blind = with_(WEB, None, not_read={WEB: "403"})
    for found in (diff(OLD, blind), diff(blind, OLD)):
        assert [(one.change, one.added, one.removed) for one in found] == [(Change.UNKNOWN, (), ())]
        assert "403" in found[0].said
    assert diff(blind, blind) == [] and not_compared(blind, blind) == {WEB: "403"}
    assert not_compared(OLD, blind) == {}


def test_of_a_folder_that_was_not_read_it_is_said_once() -> None:
    blind = with_(WEB, None, not_read={"guests/": "offline"})
    assert [(one.file, one.change) for one in diff(OLD, blind)] == [("guests/", Change.UNKNOWN)]
    assert [(one.file, one.change) for one in diff(blind, OLD)] == [("guests/", Change.UNKNOWN)]
    single = with_(WEB, None, not_read={WEB: "403"})
    said = "it was not read, and may be as it was (offline)"
    assert diff(single, blind) == [FileDiff("guests/", Change.UNKNOWN, said=said)]
    assert not_compared(single, blind) == {WEB: "offline"}


def test_a_guest_that_was_not_read_and_is_gone_now_is_unknown() -> None:
    blind = with_(WEB, None, not_read={WEB: "offline"})
    (found,) = diff(blind, with_(WEB, None))
    assert (found.change, found.said) == (Change.UNKNOWN, "it was not read before (offline)")


def test_of_a_list_that_was_told_in_part_only_what_is_shown_on_both_days_is_compared() -> None:
    part = {"storage.cfg": "rights"}
    some = with_("storage.cfg", "dir: local\n\tcontent backup\n\tpath /b\n", in_part=part)
    (found,) = diff(OLD, some)
    assert (found.added, found.removed) == (("dir: local: path /b",), ("dir: local: path /a",))
    assert found.change is Change.CHANGED and "there on both: nfs: nas" in found.said
    (found,) = diff(some, OLD)
    assert found.added == ("dir: local: path /a",) and "a part was told (rights)" in found.said
    nothing = with_("storage.cfg", None, in_part=part)
    (found,) = diff(OLD, nothing)
    assert (found.change, found.added, found.removed) == (Change.UNKNOWN, (), ())
    assert "there on both: dir: local, nfs: nas" in found.said
    both = with_("storage.cfg", OLD.files["storage.cfg"], in_part=part)
    assert diff(both, both) == [] and not_compared(both, both) == part
    (found,) = diff(OLD, both)
    assert found.change is Change.UNKNOWN and found.said.startswith("on one of the days")


def test_of_an_object_that_was_told_in_part_a_key_that_is_shown_on_both_days_is_compared() -> None:
    some = with_("datacenter.cfg", "keyboard: de\n", in_part={"datacenter.cfg": "rights"})
    (found,) = diff(OLD, some)
    assert (found.added, found.removed) == (("keyboard: de",), ("keyboard: fr",))


def test_where_guests_may_be_hidden_one_that_is_missing_is_unknown_and_the_others_are_compared() -> (
    None
):
    fewer = with_(WEB, None, in_part={"guests/": "rights"})
    for found in (diff(OLD, fewer), diff(fewer, OLD)):
        told = [(one.file, one.change, one.added, one.removed) for one in found]
        assert told == [("guests/", Change.UNKNOWN, (), ()), (WEB, Change.UNKNOWN, (), ())]
    changed = with_(WEB, "#web\nmemory: 2048\nname: web\n", in_part=dict(fewer.in_part))
    assert [one.added for one in diff(OLD, changed)] == [(), ("memory: 2048",)]
    assert diff(fewer, fewer) == [] and not_compared(fewer, fewer) == {"guests/": "rights"}


def test_the_words_for_what_became_of_a_file_are_part_of_the_answer() -> None:
    assert [str(one) for one in Change] == ["added", "removed", "changed", "unknown"]


def test_a_line_that_only_came_or_only_went_changes_its_file() -> None:
    more = with_(WEB, OLD.files[WEB] + "tags: a\n")
    (came,), (went,) = diff(OLD, more), diff(more, OLD)
    assert (came.change, came.added, came.removed) == (Change.CHANGED, ("tags: a",), ())
    assert (went.change, went.added, went.removed) == (Change.CHANGED, (), ("tags: a",))


def test_a_line_without_a_section_is_shown_all_the_same() -> None:
    (found,) = diff(ConfigSet({"f": "\tx 1\n"}), ConfigSet({"f": "\tx 2\n"}))
    assert (found.added, found.removed) == ((": x 2",), (": x 1",))


def test_the_key_of_an_objects_line_ends_at_its_first_colon() -> None:
    old = ConfigSet({"datacenter.cfg": "http_proxy: http://a:1\n"})
    new = ConfigSet({"datacenter.cfg": "http_proxy: http://b:2\n"}, {}, {"datacenter.cfg": "no"})
    (found,) = diff(old, new)
    assert found.added == ("http_proxy: http://b:2",)
    assert found.removed == ("http_proxy: http://a:1",)


def test_what_one_day_told_in_part_is_compared_as_far_as_it_goes() -> None:
    part = with_("storage.cfg", OLD.files["storage.cfg"], in_part={"storage.cfg": "rights"})
    assert not_compared(OLD, part) == not_compared(part, OLD) == {}


LINES = st.lists(st.sampled_from(["dir: a", "dir: b", "\tx 1", "\tx 2", "\ty", ""]), max_size=8)
TEXTS = LINES.map(lambda lines: "".join(f"{line}\n" for line in lines))


@given(TEXTS, TEXTS)
def test_no_difference_of_what_was_read_is_hidden(one: str, other: str) -> None:
    found = diff(ConfigSet({"f": one}), ConfigSet({"f": other}))
    assert bool(found) == (one != other)
    if found and "order" not in found[0].said:
        assert found[0].added or found[0].removed


@given(TEXTS, st.sampled_from(["f", "g/"]), TEXTS)
def test_nothing_is_added_or_removed_by_not_being_read(one: str, blind: str, other: str) -> None:
    whole = ConfigSet({"f": one, "g/h": other})
    path = {"f": "f", "g/": "g/h"}[blind]
    rest = {name: text for name, text in whole.files.items() if name != path}
    for pair in ((whole, ConfigSet(rest, {blind: "no"})), (ConfigSet(rest, {blind: "no"}), whole)):
        assert all(not (one.added or one.removed) for one in diff(*pair))
