"""Property strings at their edges: nothing, and what nobody can read."""

from __future__ import annotations

from policies.pve import guest_config, property_string


def test_nothing_is_not_on_and_what_is_not_plainly_off_may_be() -> None:
    assert (
        not property_string.maybe_on("")
        and not property_string.maybe_on("  ")
        and not property_string.maybe_on(" Off ")
    )
    assert property_string.maybe_on("2") and property_string.maybe_on("perhaps")


def test_a_drive_line_that_cannot_be_read_is_no_volume_of_anybody() -> None:
    assert guest_config.drive("l:d,size=1,size=2") == {"file": "l:d,size=1,size=2"}
    assert guest_config.drive("volume=l:d,size=1") == {"file": "l:d", "size": "1"}


def test_what_is_not_set_is_off() -> None:
    assert not guest_config.agent_configured({}) and not guest_config.agent_configured(
        {"agent": "type=virtio"}
    )
    assert guest_config.smbios_uuid({}) is None
