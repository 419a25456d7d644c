"""The library's noise about channels that we gave up is not logged; everything else is."""

from __future__ import annotations

import logging

import pytest

import backupsvc.remote.ssh  # noqa: F401 - importing it sets the library's logging up


def test_only_the_late_channel_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("paramiko.transport")
    with caplog.at_level(logging.DEBUG):
        log.warning("Success for unrequested channel! [??]")
        log.warning("Oops, unhandled type 42")
        log.error("Exception (client): Error reading SSH protocol banner")
    assert [record.getMessage() for record in caplog.records] == [
        "Oops, unhandled type 42",
        "Exception (client): Error reading SSH protocol banner",
    ]
