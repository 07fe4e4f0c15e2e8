"""One variable at a time: numbers, words, and URLs with what they may say. Faults are collected, not raised."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

URL_KEYS = (
    *("host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "application_name", "connect_timeout"),
    "target_session_attrs",
)
TARGETS = ("read-write", "primary")
"""What target_session_attrs may say: both mean the server that takes writes, and so they do here."""
BETWEEN_URLS = re.compile(r",(?=\s*postgres(?:ql)?(?:\+\w+)?://)")
URL_FORM = "postgresql://user:password@host:5432/database"
TRUE, FALSE = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the database is and who logs in; empty where nothing was said."""

    user: str = ""
    password: str = ""
    host: str = ""
    port: int = 5432
    others: tuple[tuple[str, int], ...] = ()
    """Further hosts, with their ports."""
    database: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    """What the URL says after its question mark."""
    connect_timeout_s: float = 0


@dataclass(frozen=True)
class Reader:
    """One variable at a time; what is wrong goes to `faults`, and the default is used to go on."""

    environment: Mapping[str, str]
    faults: list[str]

    def text(self, name: str) -> str | None:
        """What it says; None where it says nothing."""
        return self.environment.get(name, "").strip() or None

    def number(self, name: str, default: float, *, least: float) -> float:
        """A finite number from `least` up."""
        given = self.text(name)
        try:
            value = default if given is None else float(given)
        except ValueError:
            value = float("nan")
        if not least <= value < float("inf"):  # neither is nan
            self.faults.append(f"{name}: {given!r} is not a number from {least:g} up (default {default:g})")
            return default
        return value

    def whole(self, name: str, default: int, *, least: int, most: int | None = None) -> int:
        """A whole number from `least` up, or to `most`."""
        given = self.text(name)
        if given is None:
            return default
        value = int(given) if given.isascii() and given.isdigit() else least - 1
        if value < least or (most is not None and value > most):
            span = f"{least} up" if most is None else f"{least} to {most}"
            self.faults.append(f"{name}: {given!r} is not a whole number from {span} (default {default})")
            return default
        return value

    def flag(self, name: str) -> bool:
        """True or false; false where it says nothing."""
        given = (self.text(name) or "").lower()
        if given not in (*TRUE, *FALSE):
            self.faults.append(f"{name}: {given!r} is neither true nor false")
        return given in TRUE

    def choice(self, name: str, given: str | None, allowed: tuple[str, ...], default: str) -> str:
        """One of the `allowed` words."""
        if given is None or given in allowed:
            return given or default
        self.faults.append(f"{name}: {given!r} is unknown; known: {', '.join(allowed)}")
        return default


def place(read: Reader) -> Place:
    """Host, login and database: from DATABASE_URL or, where there is none, from the pieces DB_HOST and so on."""
    if url := read.text("DATABASE_URL"):
        return _from_url(url, read, "DATABASE_URL")
    names = ("DB_USER", "DB_NAME", "DB_HOST")
    if all(read.text(name) is None for name in names):
        read.faults.append(f"DATABASE_URL: not set; give {URL_FORM}, or DB_USER, DB_PASSWORD, DB_NAME and DB_HOST")
        return Place(host="127.0.0.1")
    connector = read.text("DATABASE_CONNECTOR") not in (None, "none")
    needed = names[:2] if connector else names
    read.faults.extend(f"{name}: not set, though other pieces are" for name in needed if read.text(name) is None)
    return Place(
        user=read.text("DB_USER") or "",
        password=read.environment.get("DB_PASSWORD", ""),
        host=read.text("DB_HOST") or ("" if connector else "127.0.0.1"),
        port=read.whole("DB_PORT", 5432, least=1),
        database=read.text("DB_NAME") or "",
    )


def replica_places(read: Reader, primary: Place) -> list[Place]:
    """The replicas of DATABASE_REPLICA_URL; what a URL leaves out of login and database is the primary's."""
    name = "DATABASE_REPLICA_URL"
    places: list[Place] = []
    for url in BETWEEN_URLS.split(read.text(name) or ""):
        if not url.strip():
            continue
        found = _from_url(url.strip(), read, name, whole=False)
        if found.others:
            read.faults.append(f"{name}: names several hosts in one URL; give a URL for each replica")
        elif not found.host:
            read.faults.append(f"{name}: names no host; write {URL_FORM}")
        login = {"user": found.user, "password": found.password} if found.user else _login(primary)
        places.append(replace(found, **login, database=found.database or primary.database))
    return places


def _login(place: Place) -> dict[str, str]:
    return {"user": place.user, "password": place.password}


def _from_url(url: str, read: Reader, name: str, *, whole: bool = True) -> Place:
    """What the variable `name` says; with `whole`, it has to name user and database."""
    # What urllib says may quote a piece of the password, and so may a key of a query that began inside it.
    unreadable = f"{name}: can't be read; write {URL_FORM} and percent-encode what is special in the password"
    try:
        parts = urlsplit(url)
        hosts = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
        ports = [host.port for host in hosts]
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        read.faults.append(unreadable)
        return Place(host="127.0.0.1")
    if parts.fragment or ("@" in url and "@" not in parts.netloc):
        read.faults.append(unreadable)
        return Place(host="127.0.0.1")
    read.faults.extend(_url_faults(parts, query, name, whole))
    inner = Reader({f"{name}: {key}": value for key, value in query.items()}, read.faults)
    inner.choice(f"{name}: target_session_attrs", query.get("target_session_attrs"), TARGETS, TARGETS[0])
    usual = inner.whole(f"{name}: port", 5432, least=1)
    named = [(unquote(host.hostname or ""), port or usual) for host, port in zip(hosts, ports, strict=True)]
    first, *others = [(query["host"], named[0][1])] if "host" in query else named
    return Place(
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        host=first[0],
        port=first[1],
        others=tuple(others),
        database=unquote(parts.path.removeprefix("/")),
        query=query,
        connect_timeout_s=inner.number(f"{name}: connect_timeout", 0, least=0),
    )


def _url_faults(parts: SplitResult, query: Mapping[str, str], name: str, whole: bool) -> list[str]:
    faults: list[str] = []
    if parts.scheme.split("+")[0] not in ("postgresql", "postgres"):
        faults.append(f"{name}: must begin with postgresql://")
    if whole and not parts.username:
        faults.append(f"{name}: names no user; write {URL_FORM}")
    if whole and not parts.path.removeprefix("/"):
        faults.append(f"{name}: names no database; write {URL_FORM}")
    if "," in query.get("host", ""):
        faults.append(f"{name}: host= names several hosts; write them before the slash, as in @a:5432,b:5432/database")
    if unknown := sorted(set(query) - set(URL_KEYS)):
        faults.append(f"{name}: unknown key {', '.join(unknown)}; known: {', '.join(URL_KEYS)}")
    return faults
