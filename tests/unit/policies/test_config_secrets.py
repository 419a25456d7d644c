"""What is left out of a kept configuration because it is, or may announce, a secret."""

from __future__ import annotations

import pytest

from policies.config_secrets import LEFT_OUT, free, secret_name, within


@pytest.mark.parametrize(
    "name",
    [
        "password", "cipassword", "passphrase", "encryption-key", "keyring", "key", "keys",
        "client-key", "certkey", "token", "secret", "bindpw", "api_key", "psk", "wpa-psk", "pin",
        "apikey", "hotkeys", "private_key", "community", "credentials", "Authorization",
    ],
)  # fmt: skip
def test_names_that_sound_like_secrets_are_taken_for_some(name: str) -> None:
    assert secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "keyboard", "keyctl", "hostpci0", "passthrough", "path", "sshkeys", "pre-enrolled-keys",
        "no-key-sharing", "username", "bwlimit", "comment", "pool", "spice_enhancements", "pigz",
    ],
)  # fmt: skip
def test_other_names_are_not(name: str) -> None:
    assert not secret_name(name)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("virtio=BC:24:11:00:00:08,bridge=vmbr0", "virtio=BC:24:11:00:00:08,bridge=vmbr0"),
        ("keys:vm-108-disk-0,size=8G", "keys:vm-108-disk-0,size=8G"),
        ("efidisk,pre-enrolled-keys=1,size=4M", "efidisk,pre-enrolled-keys=1,size=4M"),
        ("vers=3,password=a,b c,domain=x", f"vers=3,password={LEFT_OUT}"),
        ("user=a Password = b", f"user=a Password={LEFT_OUT}"),
        ("http://admin:a@b:c@proxy:3128", f"http://{LEFT_OUT}@proxy:3128"),
        ("http://proxy:3128", "http://proxy:3128"),
        ("svc@pve!name=0a1b-2c", f"svc@pve!name={LEFT_OUT}"),
        ("x -----BEGIN PRIVATE KEY-----\nMII\n-----END", f"x {LEFT_OUT}"),
    ],
)
def test_a_value_of_pves_is_kept_up_to_an_option_that_is_a_secret(value: str, kept: str) -> None:
    assert within(value) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("web server of the town", "web server of the town"),
        ("root password: hunter2", f"root pass {LEFT_OUT}"),
        ("# Mot de passe\n\n| root | hunter2 |", f"# Mot de passe {LEFT_OUT}"),
        ("ask Marie for the token ", "ask Marie for the token "),
        ("pci passthrough, keyboard fr", "pci passthrough, keyboard fr"),
        ("see http://a:b@wiki/ for the PIN 1234", f"see http://{LEFT_OUT}@wiki/ for the PIN {LEFT_OUT}"),
    ],
)  # fmt: skip
def test_what_a_person_wrote_is_kept_up_to_a_word_that_may_announce_one(
    text: str, kept: str
) -> None:
    assert free(text) == kept
