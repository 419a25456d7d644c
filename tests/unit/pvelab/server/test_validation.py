"""What a request's parameters become, and what is refused: forms, JSON, lists, property strings,
numbered options.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvelab.errors import LabError
from pvelab.schema.endpoints import api
from pvelab.schema.validate import validate
from pvelab.wire import Request, parameters

_CONFIG = "/nodes/clovis/qemu/100/config"


def _validated(method: str, path: str, given: dict[str, Any]) -> dict[str, Any]:
    found = api().find(method, path)
    assert found is not None
    return validate(found[0].parameters, {**found[1], **given})


def _errors(method: str, path: str, given: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(LabError) as caught:
        _validated(method, path, given)
    assert (caught.value.status, caught.value.reason) == (400, "Parameter verification failed.")
    return caught.value.errors


def _sent(
    body: str, kind: str = "application/x-www-form-urlencoded", path: str = _CONFIG
) -> dict[str, Any]:
    found = api().find("PUT", path)
    assert found is not None
    return parameters(
        Request("PUT", path, "", {"content-type": kind}, body.encode()), found[0].parameters
    )


def test_numbers_and_booleans_are_converted_and_the_rest_stays_text() -> None:
    assert _validated(
        "GET", "/nodes/clovis/tasks", {"limit": "5", "errors": "1", "typefilter": "vzdump"}
    ) == {
        "node": "clovis",
        "limit": 5,
        "errors": 1,
        "typefilter": "vzdump",
    }


def test_a_path_is_matched_as_a_whole_and_a_volume_keeps_its_slashes() -> None:
    found = api().find(
        "GET", "/nodes/clovis/storage/local/content/local:backup/vzdump-qemu-1.vma.zst"
    )
    assert found is not None
    assert found[1]["volume"] == "local:backup/vzdump-qemu-1.vma.zst"
    assert api().find("GET", "/nodes/clovis/qemu/100/nosuch") is None
    assert api().find("POST", "/version") is None


@pytest.mark.parametrize("key", ["net32", "scsi31", "ide4", "nett0"])
def test_numbered_options_end_where_pves_do(key: str) -> None:
    assert key in _errors("PUT", _CONFIG, {key: "virtio"})


def test_everything_that_is_wrong_is_said_at_once() -> None:
    errors = _errors("PUT", _CONFIG, {"nosuch": "1", "onboot": "maybe", "name": "under_score"})
    assert set(errors) == {"nosuch", "onboot", "name"}


@given(st.text())
def test_no_text_breaks_the_reader_of_property_strings(text: str) -> None:
    try:
        assert _validated("PUT", _CONFIG, {"net0": text})["net0"] == text
    except LabError as error:
        assert set(error.errors) == {"net0"}


def test_a_nics_model_may_stand_for_its_mac() -> None:
    assert _validated(
        "PUT", _CONFIG, {"net0": "virtio=BC:24:11:00:00:05,bridge=vmbr9,link_down=yes"}
    )
    assert (
        "net0.macaddr" in _errors("PUT", _CONFIG, {"net0": "virtio=nonsense,bridge=vmbr9"})["net0"]
    )
    # BD is odd in its last bit: a multicast address, which no card may have
    assert (
        "net0.macaddr"
        in _errors("PUT", _CONFIG, {"net0": "virtio=BD:24:11:00:00:05,bridge=vmbr9"})["net0"]
    )


@given(
    st.dictionaries(
        st.sampled_from(["name", "tags", "description"]),
        st.text(st.characters(exclude_categories=["Cs"])),
    )
)
def test_an_encoded_form_arrives_as_it_was_sent(values: dict[str, str]) -> None:
    body = "&".join(f"{name}={quote(value, safe='')}" for name, value in values.items())
    assert _sent(body) == values


def test_a_second_raw_equals_sign_cuts_the_value_and_a_semicolon_separates() -> None:
    assert _sent("net0=virtio,bridge=vmbr1") == {"net0": "virtio,bridge"}
    assert _sent("description=x;tags=a") == {"description": "x", "tags": "a"}


def test_repeated_keys_are_an_array_or_one_list() -> None:
    assert _sent("tags=a&tags=b") == {"tags": "a;b"}
    found = api().find("POST", "/nodes/clovis/qemu/100/agent/exec")
    assert found is not None
    for body, expected in {"command=ls": ["ls"], "command=ls&command=-l": ["ls", "-l"]}.items():
        request = Request(
            "POST", "/", "", {"content-type": "application/x-www-form-urlencoded"}, body.encode()
        )
        assert parameters(request, found[0].parameters) == {"command": expected}


def test_json_bodies_carry_true_types_and_lists() -> None:
    sent = _sent(
        '{"onboot": true, "memory": 128, "tags": ["a", "b"], "description": null}',
        "application/json",
    )
    wanted = {"onboot": 1, "memory": "128", "tags": "a;b", "description": ""}
    assert _validated("PUT", _CONFIG, sent) == {"node": "clovis", "vmid": 100, **wanted}


def test_the_query_wins_over_the_body() -> None:
    found = api().find("PUT", _CONFIG)
    assert found is not None
    request = Request(
        "PUT", _CONFIG, "tags=q", {"content-type": "application/x-www-form-urlencoded"}, b"tags=b"
    )
    assert parameters(request, found[0].parameters) == {"tags": "q"}


def test_bytes_that_are_not_utf_8_are_read_as_latin_1() -> None:
    assert _sent("description=%FC") == {"description": "ü"}
