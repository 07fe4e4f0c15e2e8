"""Password verifiers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrations import scram


@settings(max_examples=20, deadline=None)
@given(st.text(min_size=1), st.text(min_size=1))
def test_a_verifier_fits_its_password_and_no_other(password: str, other: str) -> None:
    stored = scram.verifier(password)
    assert scram.fits(password, stored)
    assert scram.fits(other, stored) == (scram._prepared(other) == scram._prepared(password))


def test_it_has_postgresqls_form_and_hides_the_password() -> None:
    stored = scram.verifier("pencil", salt=bytes(range(16)))
    assert stored.startswith("SCRAM-SHA-256$4096:AAECAwQFBgcICQoLDA0ODw==$") and "pencil" not in stored


def test_two_verifiers_of_one_password_differ() -> None:
    assert scram.verifier("pencil") != scram.verifier("pencil")


@pytest.mark.parametrize(
    "stored", [None, "", "md5abc", "SCRAM-SHA-256$4096:!$x:y", "SCRAM-SHA-256$x:AA==$x:y", "a$b$c"]
)
def test_what_is_no_verifier_fits_nothing(stored: str | None) -> None:
    assert not scram.fits("pencil", stored)
