"""The environment as settings: the document's forms, the defaults, and a sentence for every fault."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.errors import SettingsError
from db.settings import Pool, Settings, from_environment, is_local

URL = "postgresql://gaia_app:secret@localhost:5433/gaia"
KEY = "0a" * 32


def read(**more: str) -> Settings:
    return from_environment({"DATABASE_URL": URL, **more})


def faults(environment: Mapping[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        from_environment(environment)
    return str(refused.value).splitlines()


def test_a_url_alone_gives_the_documents_pools_and_time_outs() -> None:
    found = read()
    assert (found.user, found.password, found.host, found.port, found.database) == (
        *("gaia_app", "secret", "localhost", 5433),
        "gaia",
    )
    assert found.async_pool == Pool(size=20, overflow=0, recycle_s=3600, timeout_s=30)
    assert found.sync_pool == Pool(size=5, overflow=0, recycle_s=3600, timeout_s=30)
    assert (found.echo, found.sslmode, found.identity_keys, found.identity_lifetime_s) == (False, "disable", (), 300)


def test_the_documents_cloud_sql_url_names_a_socket() -> None:
    found = read(DATABASE_URL="postgresql://gaia_app:a%2Fb%40c@/gaia?host=/cloudsql/project:region:instance")
    assert (found.host, found.password, found.sslmode) == ("/cloudsql/project:region:instance", "a/b@c", "disable")


def test_the_documents_pieces_serve_where_there_is_no_url() -> None:
    pieces = {"DB_USER": "gaia_app", "DB_PASSWORD": "p@ss/word ", "DB_NAME": "gaia", "DB_HOST": "/cloudsql/a:b:c"}
    found = from_environment(pieces)
    assert (found.user, found.password, found.database, found.host) == (
        *("gaia_app", "p@ss/word ", "gaia"),
        "/cloudsql/a:b:c",
    )


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.text("abcé /@?#%:", min_size=1))
def test_any_login_survives_its_percent_encoding(password: str, user: str) -> None:
    from urllib.parse import quote

    found = read(DATABASE_URL=f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@127.0.0.1/gaia")
    assert (found.user, found.password) == (user, password)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg"])
def test_a_url_may_name_a_driver(scheme: str) -> None:
    assert read(DATABASE_URL=f"{scheme}://u@127.0.0.1/d").user == "u"


@pytest.mark.parametrize("host", ["/cloudsql/a:b:c", "localhost", "127.0.0.1", "127.8.8.8", "::1", "postgres"])
def test_what_stays_on_this_machine_needs_no_tls(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["10.0.0.3", "db.example.com", "localhost.example.com", "2001:db8::1"])
def test_whatever_leaves_it_is_verified_unless_the_settings_say_otherwise(host: str) -> None:
    netloc = f"[{host}]" if ":" in host else host
    assert read(DATABASE_URL=f"postgresql://u:p@{netloc}/d").sslmode == "verify-full"
    assert read(DATABASE_URL=f"postgresql://u:p@{netloc}/d", DATABASE_SSLMODE="disable").sslmode == "disable"
    assert read(DATABASE_URL=f"postgresql://u:p@{netloc}/d?sslmode=require").sslmode == "require"


def test_a_url_may_name_several_hosts_of_which_one_is_the_primary() -> None:
    found = read(DATABASE_URL="postgresql://u:p@db1:5433,[::1],10.0.0.3:5434/d?port=6000")
    assert [(one.host, one.port, one.others) for one in found.each] == [
        *[("db1", 5433, ()), ("::1", 6000, ()), ("10.0.0.3", 5434, ())]
    ]
    assert found.writable and all(one.writable and one.password == "p" for one in found.each)
    assert found.sslmode == "verify-full"  # one of them isn't local
    assert found.where == "u at db1:5433,::1:6000,10.0.0.3:5434/d"
    assert not read().writable and read().each == (read(),)
    assert read(DATABASE_URL=f"{URL}?target_session_attrs=read-write").writable


def test_replicas_are_urls_with_the_primarys_login_where_they_name_none() -> None:
    found = read(
        DATABASE_REPLICA_URL="postgresql://10.0.0.3/?sslmode=require, postgres://u:a,b@other:5434/d?sslmode=disable",
        DATABASE_POOL_SIZE="7",
        DATABASE_REPLICA_LAG_MAX_S="2.5",
        GAIA_IDENTITY_KEY=KEY,
    )
    first, second = found.replicas
    assert (first.user, first.password, first.host, first.port, first.database, first.sslmode) == (
        *("gaia_app", "secret", "10.0.0.3", 5432),
        *("gaia", "require"),
    )
    assert (second.user, second.password, second.host, second.port, second.database, second.sslmode) == (
        *("u", "a,b", "other", 5434),
        *("d", "disable"),
    )
    assert all(one.async_pool.size == 7 and one.identity_keys == (KEY,) for one in found.replicas)
    assert found.replica_lag_max_s == 2.5 and "a,b" not in repr(found) and "secret" not in repr(found)
    assert read().replicas == () and read().replica_lag_max_s == 5
    assert read(DATABASE_REPLICA_URL="postgresql://10.0.0.3").replicas[0].sslmode == "verify-full"


def test_pools_of_smaller_tiers_are_settings() -> None:
    found = read(
        DATABASE_POOL_SIZE="4",
        DATABASE_POOL_OVERFLOW="2",
        DATABASE_SYNC_POOL_SIZE="1",
        DATABASE_POOL_RECYCLE_S="60",
        DATABASE_POOL_TIMEOUT_S="0.5",
    )
    assert found.async_pool == Pool(size=4, overflow=2, recycle_s=60, timeout_s=0.5)
    assert found.sync_pool == Pool(size=1, overflow=0, recycle_s=60, timeout_s=0.5)


def test_the_connector_needs_an_instance_and_brings_its_own_tls() -> None:
    found = from_environment(
        {
            "DATABASE_CONNECTOR": "cloudsql",
            "DB_INSTANCE_CONNECTION_NAME": "project:region:instance",
            "DATABASE_CONNECTOR_IP": "private",
            "DB_USER": "gaia_app",
            "DB_NAME": "gaia",
        }
    )
    assert (found.connector, found.instance, found.ip_type) == ("cloudsql", "project:region:instance", "private")
    assert "project:region:instance" in found.where
    assert any("DB_INSTANCE_CONNECTION_NAME" in line for line in faults({"DATABASE_CONNECTOR": "cloudsql"}))


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("DATABASE_POOL_SIZE", "0", "'0' is not a whole number from 1 up (default 20)"),
        ("DATABASE_POOL_SIZE", "many", "'many' is not a whole number"),
        ("DATABASE_POOL_OVERFLOW", "-1", "from 0 up"),
        ("DATABASE_POOL_TIMEOUT_S", "nan", "is not a number"),
        ("DATABASE_POOL_RECYCLE_S", "inf", "is not a number"),
        ("DATABASE_STATEMENT_TIMEOUT_S", "1min", "is not a number from 0 up"),
        ("DATABASE_ECHO", "maybe", "'maybe' is neither true nor false"),
        ("DATABASE_SSLMODE", "prefer", "known: disable, require, verify-ca, verify-full"),
        ("DATABASE_SSLMODE", "verify-ca", "DATABASE_SSLROOTCERT"),
        ("DATABASE_SSLCERT", "client.crt", "give both or neither"),
        ("DATABASE_CONNECTOR", "proxy", "known: none, cloudsql"),
        ("GAIA_IDENTITY_KEY", "short", "64 hexadecimal characters"),
        ("GAIA_IDENTITY_LIFETIME_S", "0", "from 1 to 3600"),
        ("GAIA_IDENTITY_LIFETIME_S", "3601", "from 1 to 3600"),
        ("DATABASE_URL", "mysql://u:p@h/d", "must begin with postgresql://"),
        ("DATABASE_URL", "postgresql://localhost/d", "names no user"),
        ("DATABASE_URL", "postgresql://u:p@localhost", "names no database"),
        ("DATABASE_URL", "postgresql://u:p@/d", "names no host"),
        ("DATABASE_URL", "postgresql://u:p@/d?host=a,b", "several hosts"),
        ("DATABASE_URL", "postgresql://u:p@localhost/d?options=-c", "unknown key options"),
        ("DATABASE_URL", "postgresql://u:p@localhost/d?target_session_attrs=any", "known: read-write, primary"),
        ("DATABASE_REPLICA_URL", "mysql://localhost/d", "must begin with postgresql://"),
        ("DATABASE_REPLICA_URL", "postgresql://u:p@/d", "names no host"),
        ("DATABASE_REPLICA_URL", "postgresql://u:p@a,b/d", "a URL for each replica"),
        ("DATABASE_REPLICA_URL", "postgresql://a/d?sslmode=prefer", "DATABASE_REPLICA_URL: sslmode"),
        ("DATABASE_REPLICA_URL", "postgresql://a/d?sslmode=verify-ca", "DATABASE_SSLROOTCERT"),
        ("DATABASE_REPLICA_LAG_MAX_S", "0", "from 0.1 up (default 5)"),
        ("DATABASE_URL", "postgresql://u:p@localhost/d?port=x", "port: 'x' is not a whole number"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_it(name: str, value: str, part: str) -> None:
    (fault,) = faults({"DATABASE_URL": URL, name: value})
    assert name.split("_")[0] in fault and part in fault


@pytest.mark.parametrize("password", ["S3cret/x", "S3cret#x", "S3cret?x", "S3cret[x", "S3c:ret/x"])
def test_a_password_that_is_not_encoded_is_never_shown(password: str) -> None:
    told = faults({"DATABASE_URL": f"postgresql://u:{password}@localhost/d"})
    assert "percent-encode" in told[0] and "S3c" not in "".join(told)


def test_all_faults_come_at_once() -> None:
    bad = {"DATABASE_URL": URL, "DATABASE_SSLMODE": "prefer", "DATABASE_REPLICA_URL": "postgresql://a,postgresql://b"}
    assert len(faults(bad)) == 1  # though it is wrong for three servers
    assert len(faults({"DATABASE_POOL_SIZE": "x", "DATABASE_ECHO": "x", "DB_USER": "u"})) == 4


def test_nothing_secret_is_in_the_representation() -> None:
    shown = repr(read(GAIA_IDENTITY_KEY=KEY))
    assert "secret" not in shown and KEY not in shown
