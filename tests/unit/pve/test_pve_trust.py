"""Whose certificate is believed, over real TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from backupsvc.errors import PveCertificateRefused, UsageError
from backupsvc.pve import connect
from tests.fakes.clock import SteppingClock
from tests.fakes.pve_server import FakePve
from tests.fakes.tls import make_certificate

from .conftest import settings_for


@pytest.fixture
def answering(fake: FakePve) -> FakePve:
    fake.on("GET", "/version", {"release": "9.0", "version": "9.0.11"})
    return fake


@pytest.mark.parametrize("form", ["{0}", "{1}", "{2}"])
def test_a_pinned_fingerprint_is_believed_with_or_without_colons(
    answering: FakePve, clock: SteppingClock, form: str
) -> None:
    shown = answering.certificate.fingerprint
    pin = form.format(shown, shown.replace(":", ""), shown.lower())
    pve = connect(settings_for(answering, ca_file=None, fingerprint=pin), clock)
    assert pve.cluster.version().release == "9.0"


def test_another_certificate_than_the_pinned_one_is_refused_before_the_token_is_sent(
    answering: FakePve, clock: SteppingClock
) -> None:
    pin = "AB:" * 31 + "CD"
    pve = connect(settings_for(answering, ca_file=None, fingerprint=pin), clock)
    with pytest.raises(PveCertificateRefused) as caught:
        pve.cluster.version()
    assert answering.certificate.fingerprint in caught.value.message and pin in caught.value.message
    assert "BACKUPSVC_PVE__FINGERPRINT" in caught.value.hint and caught.value.exit_code == 3
    assert answering.requests == []


def test_a_pin_decides_even_where_the_ca_would_do(answering: FakePve, clock: SteppingClock) -> None:
    pve = connect(settings_for(answering, fingerprint="00" * 32), clock)
    with pytest.raises(PveCertificateRefused):
        pve.cluster.version()


def test_the_clusters_own_ca_is_believed(answering: FakePve, clock: SteppingClock) -> None:
    assert connect(settings_for(answering), clock).cluster.version().version == "9.0.11"


def test_another_ca_is_refused_and_both_ways_out_are_told(
    answering: FakePve, clock: SteppingClock, tmp_path: Path
) -> None:
    other = make_certificate(tmp_path)
    pve = connect(settings_for(answering, ca_file=other.ca), clock)
    with pytest.raises(PveCertificateRefused) as caught:
        pve.cluster.version()
    assert answering.certificate.fingerprint in caught.value.message
    assert (
        "BACKUPSVC_PVE__CA_FILE" in caught.value.hint
        and "BACKUPSVC_PVE__FINGERPRINT" in caught.value.hint
    )
    assert answering.requests == []


def test_without_any_setting_an_unknown_ca_is_refused(
    answering: FakePve, clock: SteppingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the environment must not decide whom we trust
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(answering.certificate.ca))
    monkeypatch.setenv("CURL_CA_BUNDLE", "")
    with pytest.raises(PveCertificateRefused):
        connect(settings_for(answering, ca_file=None), clock).cluster.version()
    assert answering.requests == []


def test_a_certificate_for_another_name_is_refused(clock: SteppingClock, tmp_path: Path) -> None:
    fake = FakePve(make_certificate(tmp_path, names=("elsewhere.test",), address="192.0.2.1"))
    fake.start()
    try:
        with pytest.raises(PveCertificateRefused, match=r"not valid for|mismatch"):
            connect(settings_for(fake), clock).cluster.version()
    finally:
        fake.stop()


@pytest.mark.parametrize("pin", ["AB:CD", "zz" * 32, "AB" * 20])
def test_a_fingerprint_that_is_no_sha256_is_wrong_usage(
    fake: FakePve, clock: SteppingClock, pin: str
) -> None:
    with pytest.raises(UsageError, match="BACKUPSVC_PVE__FINGERPRINT"):
        connect(settings_for(fake, fingerprint=pin), clock)


def test_a_ca_file_that_is_not_there_is_wrong_usage(
    fake: FakePve, clock: SteppingClock, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="BACKUPSVC_PVE__CA_FILE"):
        connect(settings_for(fake, ca_file=tmp_path / "none.pem"), clock)
