"""Several hosts: the last good one is asked first, and the error says who didn't answer."""

from db import errors, hosts
from db.settings import Settings


def test_the_host_that_took_writes_last_is_asked_first() -> None:
    settings = Settings(user="u", host="a", others=(("b", 5433), ("c", 5432)), database="order", writable=True)
    assert [one.host for one in hosts.in_order(settings)] == ["a", "b", "c"]
    hosts.remember(settings, settings.each[1])
    assert [(one.host, one.port) for one in hosts.in_order(settings)] == [("b", 5433), ("a", 5432), ("c", 5432)]


def test_a_single_host_is_not_remembered() -> None:
    settings = Settings(user="u", host="alone", database="order")
    hosts.remember(settings, settings)
    assert hosts.in_order(settings) == (settings,) and settings.where not in hosts._last


def test_silence_everywhere_is_unreachable_and_a_standby_that_answers_is_not_primary() -> None:
    settings = Settings(user="u", host="a", others=(("b", 5432),), database="d", writable=True)
    silent = errors.Unreachable("nobody at a")
    assert hosts.none_of(settings, [silent, errors.Unreachable("nobody at b")]) is silent
    told = hosts.none_of(settings, [silent])
    assert type(told) is errors.NotPrimary and "nobody at a" in str(told)
