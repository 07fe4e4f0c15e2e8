"""Tokens: what they look like, and which keys are refused."""

import hashlib
import hmac
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.identity import IdentityKeyError, key_id, keys, sign

KEY, OTHER = "0a" * 32, "0b" * 32
USER = uuid.UUID("00000000-0000-0000-0000-00000000000A")


@given(st.uuids(), st.integers(0, 2**40), st.binary(min_size=32, max_size=32))
def test_a_token_names_key_user_and_expiry_and_ends_with_their_hmac(user: uuid.UUID, at: int, secret: bytes) -> None:
    claim, _, mac = sign(secret.hex(), user, at).rpartition(".")
    assert claim == f"{hashlib.sha256(secret).hexdigest()[:8]}.{user}.{at}"
    assert mac == hmac.digest(secret, claim.encode(), "sha256").hex()


def test_a_token_is_the_same_whatever_the_case_of_its_key() -> None:
    assert sign(KEY.upper(), USER, 1) == sign(KEY, USER, 1)
    assert str(USER) in sign(KEY, USER, 1)


def test_another_key_gives_another_name_and_another_signature() -> None:
    assert key_id(KEY) != key_id(OTHER)
    assert sign(KEY, USER, 1)[-64:] != sign(OTHER, USER, 1)[-64:]


def test_one_key_or_the_current_and_the_previous_one() -> None:
    assert keys(KEY) == (KEY,)
    assert keys(f" {KEY} , {OTHER}\n") == (KEY, OTHER)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "key 1 is not 64 hexadecimal characters (it has 0"),
        ("ab" * 31, "it has 62 characters"),
        ("xy" * 32, "key 1"),
        (f"{KEY},", "key 2"),
        (f"{KEY},{OTHER},{'0c' * 32}", "3 keys"),
        (f"{KEY},{KEY.upper()}", "both keys are the same"),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(text: str, part: str) -> None:
    with pytest.raises(IdentityKeyError) as refused:
        keys(text)
    assert part in str(refused.value)
    assert not [piece for piece in text.split(",") if piece and piece in str(refused.value)]
