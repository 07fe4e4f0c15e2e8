"""One variable at a time: numbers, words, and DATABASE_URL with what it may say. Faults are collected, not raised."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

URL_KEYS = ("host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "application_name", "connect_timeout")
URL_FORM = "postgresql://user:password@host:5432/database"
TRUE, FALSE = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the database is and who logs in; empty where nothing was said."""

    user: str = ""
    password: str = ""
    host: str = ""
    port: int = 5432
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
        return _from_url(url, read)
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


def _from_url(url: str, read: Reader) -> Place:
    # What urllib says may quote a piece of the password, and so may a key of a query that began inside it.
    unreadable = f"DATABASE_URL: can't be read; write {URL_FORM} and percent-encode what is special in the password"
    try:
        parts = urlsplit(url)
        port = parts.port
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        read.faults.append(unreadable)
        return Place(host="127.0.0.1")
    if parts.fragment or ("@" in url and "@" not in parts.netloc):
        read.faults.append(unreadable)
        return Place(host="127.0.0.1")
    read.faults.extend(_url_faults(parts, query))
    inner = Reader({f"DATABASE_URL: {key}": value for key, value in query.items()}, read.faults)
    return Place(
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        host=query.get("host") or unquote(parts.hostname or ""),
        port=port or inner.whole("DATABASE_URL: port", 5432, least=1),
        database=unquote(parts.path.removeprefix("/")),
        query=query,
        connect_timeout_s=inner.number("DATABASE_URL: connect_timeout", 0, least=0),
    )


def _url_faults(parts: SplitResult, query: Mapping[str, str]) -> list[str]:
    faults: list[str] = []
    if parts.scheme.split("+")[0] not in ("postgresql", "postgres"):
        faults.append("DATABASE_URL: must begin with postgresql://")
    if not parts.username:
        faults.append(f"DATABASE_URL: names no user; write {URL_FORM}")
    if not parts.path.removeprefix("/"):
        faults.append(f"DATABASE_URL: names no database; write {URL_FORM}")
    if "," in (parts.netloc.rpartition("@")[2] + query.get("host", "")):
        faults.append("DATABASE_URL: names several hosts; give one")
    if unknown := sorted(set(query) - set(URL_KEYS)):
        faults.append(f"DATABASE_URL: unknown key {', '.join(unknown)}; known: {', '.join(URL_KEYS)}")
    return faults
