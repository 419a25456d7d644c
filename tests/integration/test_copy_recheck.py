"""``copy recheck`` on a lab with modelled guests: a copy that rots at its target is found, told
everywhere, counts for nothing, and is made anew.
"""

from __future__ import annotations

import json

import pytest

from tests.integration.conftest import LANGEO
from tests.integration.test_copy_encrypted import VMID, User, user  # noqa: F401
from tests.unit.copies.test_reread import flip

pytestmark = pytest.mark.slow


def corrupt(user: User) -> list[str]:  # noqa: F811
    found = user("pra", "status", "--json").json["findings"]
    return [one["detail"] for one in found if one["id"] == "copy-corrupt"]


def places(user: User) -> int:  # noqa: F811
    """In how many places the guest's newest archive lies, by the status."""
    guests = user("pra", "status", "--json").json["guests"]
    (found,) = (one["copies"] for one in guests if one["vmid"] == VMID)
    return int(found)


@pytest.mark.parametrize("sealed", [True, False])
def test_law_5_a_copy_that_rots_is_found_told_and_made_anew(user: User, sealed: bool) -> None:  # noqa: F811
    if not sealed:
        usb = json.dumps({"usb": {"kind": "directory", "path": str(user.usb)}})
        text = LANGEO.read_text(encoding="utf-8")
        user.policy.write_text(f"{text}\ncopies: {usb}\n", encoding="utf-8")
    made = user.copy()
    words = ("copy", "recheck", "--to", "usb", "--vmid", VMID)
    assert "no copy is due" in user(*words).out
    plan = user(*words, "--all", "--dry-run", "--json").json
    assert plan["dry_run"] and [one["state"] for one in plan["copies"]] == ["planned"]
    good = user(*words, "--all", "--json")
    assert good.code == 0, good.out + good.err
    assert [one["state"] for one in good.json["copies"]] == ["intact"]

    held, name = places(user), made["volid"].rpartition("/")[2]
    flip(user.usb / (f"{name}.00001.age" if sealed else name))
    bad = user(*words, "--all")
    assert bad.code == 1 and "DAMAGED" in bad.out and "no longer what was verified" in bad.err
    (shown,) = user.listed()
    assert shown["state"] == "damaged" and corrupt(user)
    assert places(user) == held - 1, "it is no copy to a tier"
    told = user("copy", "list")
    assert "damaged" in told.out and "makes it anew" in told.err

    assert user.copy()["state"] == "verified"
    (shown,) = user.listed()
    assert shown["state"] == "verified" and not corrupt(user) and places(user) == held
    assert user(*words, "--all").code == 0


def test_law_4_a_target_that_is_not_there_is_told_and_nothing_is_damaged(user: User) -> None:  # noqa: F811
    user.copy()
    user.usb.rename(user.usb.with_name("unmounted"))
    found = user("copy", "recheck", "--to", "usb", "--all", "--json")
    assert found.code == 3, found.out + found.err
    assert {one["state"] for one in found.json["copies"]} == {"unread"}
    assert [one["state"] for one in user.listed()] == ["verified"] and not corrupt(user)
    user.usb.with_name("unmounted").rename(user.usb)
    assert user("copy", "recheck", "--to", "nowhere").code == 2
