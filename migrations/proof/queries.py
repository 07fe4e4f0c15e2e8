"""The queries of releases that may still run while the schema moves: they must work before and after a revision.

A query that worked at a revision must work at the next one. Take one away, or give it ``until``, only when no release
that still runs asks it. To those of the list come the models' own of this checkout.
"""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from migrations.connection import one_sentence
from migrations.revisions import Revision, position

if TYPE_CHECKING:
    import psycopg

APP = "gaia_app"
AUDITOR = "gaia_auditor"
OPERATOR = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Query:
    """One query, asked in a transaction that is rolled back."""

    name: str
    sql: str
    login: str | None = APP
    """The role that asks it; None for a superuser, as an operator with psql."""
    until: str | None = None
    """The revision from which on no release asks it any more; None for none yet."""


QUERIES = (
    # The product's database document, as printed there.
    Query(name="document: all users", sql="SELECT * FROM auth.users"),
    Query(
        name="document: active campaigns",
        sql="SELECT c.*, u.username as owner FROM game.campaigns c JOIN auth.users u ON c.owner_id = u.user_id"
        " WHERE c.is_active = true",
    ),
    Query(
        name="document: recent security events",
        sql="SELECT * FROM audit.security_events ORDER BY created_at DESC LIMIT 10",
        login=AUDITOR,
    ),
    Query(
        name="document: grant admin access",
        sql="UPDATE auth.users SET is_admin = true WHERE email = 'user@example.com'",
        login=OPERATOR,
    ),
    Query(
        name="document: table sizes",
        sql="SELECT schemaname, tablename, pg_size_pretty(pg_total_relation_size(schemaname||'.'||tablename)) AS size"
        " FROM pg_tables WHERE schemaname IN ('auth', 'game', 'audit')"
        " ORDER BY pg_total_relation_size(schemaname||'.'||tablename) DESC",
        login=OPERATOR,
    ),
    # The models of revision 0003.
    Query(
        name="User of 0003",
        sql="SELECT user_id, username, email, password_hash, is_admin, is_active, email_verified_at, last_login_at,"
        " created_at, updated_at FROM auth.users ORDER BY user_id LIMIT 10",
    ),
    Query(
        name="OAuthAccount of 0003",
        sql="SELECT oauth_account_id, user_id, provider, provider_account_id, email, access_token_encrypted,"
        " refresh_token_encrypted, encryption_key_id, token_expires_at, scopes, created_at, updated_at"
        " FROM auth.oauth_accounts ORDER BY oauth_account_id LIMIT 10",
    ),
    Query(
        name="Session of 0003",
        sql="SELECT session_id, user_id, token_hash, ip, user_agent, created_at, last_seen_at, expires_at, revoked_at"
        " FROM auth.sessions ORDER BY session_id LIMIT 10",
    ),
    Query(
        name="AccessControl of 0003",
        sql="SELECT access_control_id, user_id, resource_type, resource_id, permission_level, granted_by, created_at,"
        " expires_at FROM auth.access_control ORDER BY access_control_id LIMIT 10",
    ),
    Query(
        name="Campaign of 0003",
        sql="SELECT campaign_id, owner_id, name, description, settings, state, is_active, created_at, updated_at"
        " FROM game.campaigns ORDER BY campaign_id LIMIT 10",
    ),
    Query(
        name="CampaignParticipant of 0003",
        sql="SELECT campaign_id, user_id, role, character_name, joined_at, left_at FROM game.campaign_participants"
        " ORDER BY campaign_id, user_id LIMIT 10",
    ),
    Query(
        name="ChatMessage of 0003, the last 50 of a campaign",
        sql="SELECT message_id, campaign_id, user_id, role, content, metadata, created_at FROM game.chat_history"
        " WHERE campaign_id = (SELECT campaign_id FROM game.campaigns LIMIT 1)"
        " ORDER BY created_at DESC, message_id DESC LIMIT 50",
    ),
    Query(
        name="SecurityEvent of 0003",
        sql="SELECT event_id, event_type, user_id, ip, user_agent, details, created_at FROM audit.security_events"
        " ORDER BY created_at DESC LIMIT 10",
        login=AUDITOR,
    ),
    Query(
        name="insert of a message",
        sql="INSERT INTO game.chat_history (campaign_id, role, content, metadata)"
        " SELECT campaign_id, 'user', 'hello', '{}' FROM game.campaigns LIMIT 1",
        login=OPERATOR,
    ),
    Query(
        name="insert of a security event",
        sql="INSERT INTO audit.security_events (event_id, event_type, user_id, ip, user_agent, details, created_at)"
        " VALUES (gen_random_uuid(), 'login', NULL, '203.0.113.7', 'curl', '{}', now())",
    ),
    # What came with revisions 0005 to 0009.
    Query(
        name="IdentityKey of 0005",
        sql="SELECT key_id, inner_pad, outer_pad, created_at FROM auth.identity_keys",
        login=OPERATOR,
    ),
    Query(name="who am I", sql="SELECT auth.current_user_id(), auth.is_admin()"),
    Query(name="look up a login", sql="SELECT user_id, password_hash, is_active FROM auth.find_login('ada')"),
    Query(name="look up a provider account", sql="SELECT auth.find_oauth_login('google', 'account 1')"),
    Query(name="resume a session", sql="SELECT session_id, user_id FROM auth.resume_session(sha256('no token'))"),
    Query(name="my campaigns", sql="SELECT game.my_campaigns('read')"),
)


def of_models() -> tuple[Query, ...]:
    """A SELECT of all columns of each model of this checkout."""
    from sqlalchemy import select
    from sqlalchemy.dialects import postgresql

    from db.models import Base

    def query(mapper: Any) -> Query:
        text = str(select(mapper.local_table).limit(10).compile(dialect=postgresql.dialect(), **_LITERAL))
        login = AUDITOR if mapper.local_table.schema == "audit" else OPERATOR
        return Query(name=f"{mapper.class_.__name__} of this checkout", sql=" ".join(text.split()), login=login)

    return tuple(query(mapper) for mapper in sorted(Base.registry.mappers, key=lambda m: m.class_.__name__))


_LITERAL: dict[str, Any] = {"compile_kwargs": {"literal_binds": True}}


def asked_at(queries: Iterable[Query], line: tuple[Revision, ...], revision: str) -> list[Query]:
    """Those that a release may still ask at ``revision``."""
    here = position(line, revision)
    return [query for query in queries if query.until is None or here < position(line, query.until)]


def ask(connection: "psycopg.Connection[Any]", query: Query) -> str | None:
    """Ask it and roll back; why it failed, or None. ``connection`` is a superuser's, in autocommit mode."""
    import psycopg

    try:
        with connection.transaction(force_rollback=True):
            if query.login is not None:
                connection.execute("SELECT set_config('role', %s, true)", (query.login,))
            connection.execute(query.sql.encode())
    except psycopg.Error as error:
        return error.diag.message_primary or one_sentence(str(error))
    return None


def working(connection: "psycopg.Connection[Any]", queries: Iterable[Query]) -> list[Query]:
    """Those that can be asked of the schema as it is."""
    return [query for query in queries if ask(connection, query) is None]
