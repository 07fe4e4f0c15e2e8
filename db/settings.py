"""Which database, as whom and how: read from the environment when the first session is opened, never at import."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

from db.environment import Place, Reader, place, replica_places
from db.errors import SettingsError
from db.identity import IdentityKeyError, keys

SslMode = Literal["disable", "require", "verify-ca", "verify-full"]
Connector = Literal["none", "cloudsql"]
IpType = Literal["public", "private", "psc"]

SSL_MODES: tuple[str, ...] = get_args(SslMode)
"""libpq's `allow` and `prefer` are left out: they go on in plain text when the server says so."""
LONGEST_IDENTITY_S = 3600
"""A token that was read by somebody else is worth as much as it lasts."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """How many connections one engine keeps, and for how long."""

    size: int
    overflow: int = 0
    """Beyond `size`, for a while; closed when they come back."""
    recycle_s: float = 3600
    """A connection older than this is made anew before it is used."""
    timeout_s: float = 30
    """How long a session waits for a connection."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that db_manager needs to know."""

    user: str
    password: str = field(default="", repr=False)
    host: str
    """A name, an address, or the directory of a Unix socket (begins with /); with a connector, what its errors name."""
    port: int = 5432
    others: tuple[tuple[str, int], ...] = ()
    """Further hosts and ports; the primary is whichever of all takes writes."""
    writable: bool = False
    """A connection is only taken from a server that takes writes; so it is with several hosts."""
    database: str
    sslmode: SslMode = "disable"
    sslrootcert: str | None = None
    """File with the CA that signed the server's certificate; None for the system's CAs."""
    sslcert: str | None = None
    sslkey: str | None = None
    connector: Connector = "none"
    instance: str | None = None
    """`project:region:instance`, for the connector."""
    ip_type: IpType = "public"
    application_name: str = "gaia-backend"
    echo: bool = False
    """Log every statement, with its parameters."""
    async_pool: Pool = Pool(size=20)
    sync_pool: Pool = Pool(size=5)
    connect_timeout_s: float = 10
    statement_timeout_s: float = 60
    """0 for none."""
    identity_keys: tuple[str, ...] = field(default=(), repr=False)
    """The first signs. Empty: no session can be bound to a user."""
    identity_lifetime_s: int = 300
    """How long a transaction may last before its identity ends."""
    replicas: tuple["Settings", ...] = ()
    """Standbys that serve read-only sessions."""
    replica_lag_max_s: float = 5
    """How old what a replica shows may be."""

    @property
    def where(self) -> str:
        """The place and the login, for messages: `gaia_app at db.example.com:5432/gaia`."""
        hosts = ",".join(f"{host}:{port}" for host, port in ((self.host, self.port), *self.others))
        host = f"{self.host} (socket)" if self.host.startswith("/") else hosts
        return f"{self.user} at {self.instance or host}/{self.database}"

    @cached_property
    def each(self) -> tuple["Settings", ...]:
        """The same for each of its hosts alone."""
        if not self.others:
            return (self,)
        hosts = ((self.host, self.port), *self.others)
        return tuple(replace(self, host=host, port=port, others=()) for host, port in hosts)


def from_environment(environment: Mapping[str, str]) -> Settings:
    """The settings that `environment` holds; raises SettingsError with every fault, a line each."""
    faults: list[str] = []
    read = Reader(environment, faults)
    where = place(read)
    connector, instance, ip_type = _connector(read)
    if not where.host and connector == "none":
        faults.append("DATABASE_URL: names no host; give user@host or ?host=/directory/of/the/socket")
    recycle_s = read.number("DATABASE_POOL_RECYCLE_S", 3600, least=1)
    timeout_s = read.number("DATABASE_POOL_TIMEOUT_S", 30, least=0)
    hosts = (where.host, *(host for host, _ in where.others))
    local = connector != "none" or all(map(is_local, hosts))  # the connector brings TLS of its own
    found = Settings(
        user=where.user,
        password=where.password,
        host=where.host or "127.0.0.1",
        port=where.port,
        others=where.others,
        writable=bool(where.others) or "target_session_attrs" in where.query,
        database=where.database,
        sslmode=_sslmode(read, where.query, local),
        sslrootcert=where.query.get("sslrootcert") or read.text("DATABASE_SSLROOTCERT"),
        sslcert=where.query.get("sslcert") or read.text("DATABASE_SSLCERT"),
        sslkey=where.query.get("sslkey") or read.text("DATABASE_SSLKEY"),
        connector=connector,
        instance=instance,
        ip_type=ip_type,
        application_name=where.query.get("application_name") or "gaia-backend",
        echo=read.flag("DATABASE_ECHO"),
        async_pool=Pool(
            size=read.whole("DATABASE_POOL_SIZE", 20, least=1),
            overflow=read.whole("DATABASE_POOL_OVERFLOW", 0, least=0),
            recycle_s=recycle_s,
            timeout_s=timeout_s,
        ),
        sync_pool=Pool(
            size=read.whole("DATABASE_SYNC_POOL_SIZE", 5, least=1),
            overflow=read.whole("DATABASE_SYNC_POOL_OVERFLOW", 0, least=0),
            recycle_s=recycle_s,
            timeout_s=timeout_s,
        ),
        connect_timeout_s=where.connect_timeout_s or read.number("DATABASE_CONNECT_TIMEOUT_S", 10, least=1),
        statement_timeout_s=read.number("DATABASE_STATEMENT_TIMEOUT_S", 60, least=0),
        identity_keys=_identity_keys(read),
        identity_lifetime_s=read.whole("GAIA_IDENTITY_LIFETIME_S", 300, least=1, most=LONGEST_IDENTITY_S),
        replica_lag_max_s=read.number("DATABASE_REPLICA_LAG_MAX_S", 5, least=0.1),
    )
    faults += _tls_faults(found)
    found = replace(found, replicas=tuple(_replica(read, found, place) for place in replica_places(read, where)))
    if faults:
        raise SettingsError("\n".join(dict.fromkeys(faults)))  # a replica may repeat what is wrong with all
    return found


def is_local(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine: a socket, a loopback address, a name without a dot.

    Such a name is localhost or one of a Docker network, as the `postgres` of the product's own DATABASE_URL: no
    authority signs a certificate for it.
    """
    if host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return "." not in host


def _replica(read: Reader, primary: Settings, where: Place) -> Settings:
    """As the primary but for its place, and what its URL says about TLS. Google's connector is for the primary only."""
    found = replace(
        primary,
        user=where.user,
        password=where.password,
        host=where.host,
        port=where.port,
        others=(),
        writable=False,
        database=where.database,
        sslmode=_sslmode(read, where.query, is_local(where.host), "DATABASE_REPLICA_URL"),
        sslrootcert=where.query.get("sslrootcert") or primary.sslrootcert,
        sslcert=where.query.get("sslcert") or primary.sslcert,
        sslkey=where.query.get("sslkey") or primary.sslkey,
        connector="none",
        instance=None,
        application_name=where.query.get("application_name") or primary.application_name,
        connect_timeout_s=where.connect_timeout_s or primary.connect_timeout_s,
    )
    read.faults.extend(fault for fault in _tls_faults(found) if fault not in read.faults)
    return found


def _sslmode(read: Reader, query: Mapping[str, str], local: bool, url: str = "DATABASE_URL") -> SslMode:
    name, given = ("DATABASE_SSLMODE", read.text("DATABASE_SSLMODE"))
    if "sslmode" in query:
        name, given = f"{url}: sslmode", query["sslmode"]
    mode = read.choice(name, given, SSL_MODES, "disable" if local else "verify-full")
    return next(known for known in get_args(SslMode) if known == mode)


def _tls_faults(found: Settings) -> list[str]:
    faults: list[str] = []
    if found.sslmode == "verify-ca" and not found.sslrootcert:
        # Any public authority would do, for any name: that proves nothing.
        faults.append("DATABASE_SSLMODE: verify-ca needs the server's own CA; name its file in DATABASE_SSLROOTCERT")
    if bool(found.sslcert) != bool(found.sslkey):
        faults.append("DATABASE_SSLCERT and DATABASE_SSLKEY: give both or neither")
    return faults


def _connector(read: Reader) -> tuple[Connector, str | None, IpType]:
    chosen = read.choice("DATABASE_CONNECTOR", read.text("DATABASE_CONNECTOR"), get_args(Connector), "none")
    ip_type = read.choice("DATABASE_CONNECTOR_IP", read.text("DATABASE_CONNECTOR_IP"), get_args(IpType), "public")
    instance = read.text("DB_INSTANCE_CONNECTION_NAME")
    if chosen == "none":
        return "none", None, "public"
    if instance is None or instance.count(":") < 2:  # a project may hold one more, as in example.com:project
        read.faults.append(
            f"DB_INSTANCE_CONNECTION_NAME: {instance!r} is no project:region:instance, which the connector needs"
        )
    return "cloudsql", instance, next(known for known in get_args(IpType) if known == ip_type)


def _identity_keys(read: Reader) -> tuple[str, ...]:
    text = read.text("GAIA_IDENTITY_KEY")
    if text is None:
        return ()
    try:
        return keys(text)
    except IdentityKeyError as error:
        read.faults.append(str(error))
        return ()
