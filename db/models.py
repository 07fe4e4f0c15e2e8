"""The tables of Gaia's database, as SQLAlchemy models; migrations/versions/ makes the same ones (a test compares)."""

import datetime as dt
import uuid
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, INET, JSONB, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMAS = ("auth", "game", "audit")

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}

NOW = func.now()
NEW_UUID = func.gen_random_uuid()  # built into PostgreSQL since 13: no extension
EMPTY_OBJECT = text("'{}'::jsonb")
EMPTY_ARRAY = text("'{}'::text[]")
BY_MONTH = "RANGE (created_at)"
LANGUAGES = (
    *("arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french", "german", "greek"),
    *("hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "portuguese"),
    *("romanian", "russian", "serbian", "simple", "spanish", "swedish", "tamil", "turkish", "yiddish"),
)
"""What a message's words can be searched in: the text search configurations that PostgreSQL 16 brings."""
TRUE = text("true")
FALSE = text("false")


class Base(DeclarativeBase):
    """The base of all models: one naming convention, and the column types that the annotations stand for."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        bytes: LargeBinary(),
        uuid.UUID: Uuid(),
        dt.datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
        list[str]: ARRAY(Text()),
    }


class User(Base):
    """A person with an account."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("char_length(username) BETWEEN 1 AND 64", name="username_length"),
        CheckConstraint("username = btrim(username)", name="username_trimmed"),
        CheckConstraint("char_length(email) <= 320 AND email ~ '^[^@ ]+@[^@ ]+$'", name="email_shape"),
        Index("uq_users_email_lower", text("lower(email)"), unique=True),
        Index("uq_users_username_lower", text("lower(username)"), unique=True),
        {"schema": "auth", "comment": "User accounts"},
    )

    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=NEW_UUID, comment="Key of the user")
    username: Mapped[str] = mapped_column(comment="Name shown to others, unique whatever its case")
    email: Mapped[str] = mapped_column(comment="Address as the user wrote it, unique whatever its case")
    password_hash: Mapped[str | None] = mapped_column(
        comment="Salted hash made by the backend, never a password; null for who signs in with OAuth2 only"
    )
    is_admin: Mapped[bool] = mapped_column(server_default=FALSE, comment="May see and change everything")
    is_active: Mapped[bool] = mapped_column(server_default=TRUE, comment="False bars the user from signing in")
    email_verified_at: Mapped[dt.datetime | None] = mapped_column(comment="When the address was proved, else null")
    last_login_at: Mapped[dt.datetime | None] = mapped_column(comment="Last time the user signed in, else null")
    created_at: Mapped[dt.datetime] = mapped_column(server_default=NOW, comment="When the account was made")
    updated_at: Mapped[dt.datetime] = mapped_column(
        server_default=NOW, onupdate=NOW, comment="When the row was last changed"
    )


class OAuthAccount(Base):
    """A user's account at an OAuth2 provider."""

    __tablename__ = "oauth_accounts"
    __table_args__ = (
        UniqueConstraint("provider", "provider_account_id"),
        CheckConstraint("provider ~ '^[a-z][a-z0-9_-]*$'", name="provider_shape"),
        CheckConstraint(
            "encryption_key_id IS NOT NULL OR (access_token_encrypted IS NULL AND refresh_token_encrypted IS NULL)",
            name="tokens_name_their_key",
        ),
        {"schema": "auth", "comment": "OAuth2 provider accounts"},
    )

    oauth_account_id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, server_default=NEW_UUID, comment="Key of the provider account"
    )
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("auth.users.user_id", ondelete="CASCADE"), index=True, comment="Whose account it is"
    )
    provider: Mapped[str] = mapped_column(comment="Provider in lower case, such as google or discord")
    provider_account_id: Mapped[str] = mapped_column(comment="The user's identifier at the provider")
    email: Mapped[str | None] = mapped_column(comment="Address the provider reported, else null")
    access_token_encrypted: Mapped[bytes | None] = mapped_column(
        comment="Access token encrypted by the backend; never plain text"
    )
    refresh_token_encrypted: Mapped[bytes | None] = mapped_column(
        comment="Refresh token encrypted by the backend; never plain text"
    )
    encryption_key_id: Mapped[str | None] = mapped_column(
        comment="Name of the key the tokens are encrypted with (the key itself is not in the database)"
    )
    token_expires_at: Mapped[dt.datetime | None] = mapped_column(comment="When the access token ends, else null")
    scopes: Mapped[list[str]] = mapped_column(server_default=EMPTY_ARRAY, comment="Scopes the user granted")
    created_at: Mapped[dt.datetime] = mapped_column(server_default=NOW, comment="When the account was linked")
    updated_at: Mapped[dt.datetime] = mapped_column(
        server_default=NOW, onupdate=NOW, comment="When the row was last changed"
    )


class Session(Base):
    """One signed-in session of a user."""

    __tablename__ = "sessions"
    __table_args__ = (
        UniqueConstraint("token_hash"),
        CheckConstraint("octet_length(token_hash) = 32", name="token_hash_is_sha256"),
        CheckConstraint("expires_at > created_at", name="expires_after_start"),
        {"schema": "auth", "comment": "Active user sessions"},
    )

    session_id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, server_default=NEW_UUID, comment="Key of the session; not the token"
    )
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("auth.users.user_id", ondelete="CASCADE"), index=True, comment="Who is signed in"
    )
    token_hash: Mapped[bytes] = mapped_column(comment="SHA-256 of the session token; the token itself is not stored")
    ip: Mapped[str | None] = mapped_column(INET, comment="Address the session was opened from, else null")
    user_agent: Mapped[str | None] = mapped_column(comment="Browser or client as it named itself, else null")
    created_at: Mapped[dt.datetime] = mapped_column(server_default=NOW, comment="When the user signed in")
    last_seen_at: Mapped[dt.datetime] = mapped_column(server_default=NOW, comment="Last request in this session")
    expires_at: Mapped[dt.datetime] = mapped_column(index=True, comment="When the session ends by itself")
    revoked_at: Mapped[dt.datetime | None] = mapped_column(comment="When it was ended before its time, else null")


class IdentityKey(Base):
    """A key that identities are signed with. Nobody reads it but the owner's function that verifies them."""

    __tablename__ = "identity_keys"
    __table_args__ = (
        CheckConstraint("key_id ~ '^[0-9a-f]{8}$'", name="key_id_shape"),
        CheckConstraint("octet_length(inner_pad) = 64 AND octet_length(outer_pad) = 64", name="pads_are_blocks"),
        {
            "schema": "auth",
            "comment": "Keys that identities are signed with; nobody reads them but auth.current_user_id()",
        },
    )

    key_id: Mapped[str] = mapped_column(primary_key=True, comment="First 8 hexadecimal digits of the key's SHA-256")
    inner_pad: Mapped[bytes] = mapped_column(comment="Key XOR 0x36, 64 bytes (RFC 2104)")
    outer_pad: Mapped[bytes] = mapped_column(comment="Key XOR 0x5c, 64 bytes (RFC 2104)")
    created_at: Mapped[dt.datetime] = mapped_column(server_default=NOW, comment="When it was installed")


class AccessControl(Base):
    """A permission of one user on one resource."""

    __tablename__ = "access_control"
    __table_args__ = (
        UniqueConstraint("user_id", "resource_type", "resource_id"),
        CheckConstraint("resource_type ~ '^[a-z][a-z0-9_]*$'", name="resource_type_shape"),
        CheckConstraint("permission_level IN ('read', 'write', 'admin')", name="permission_level_known"),
        CheckConstraint("expires_at > created_at", name="expires_after_start"),
        Index(None, "resource_type", "resource_id"),
        {"schema": "auth", "comment": "Resource-level permissions"},
    )

    access_control_id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, server_default=NEW_UUID, comment="Key of the permission"
    )
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("auth.users.user_id", ondelete="CASCADE"), comment="Who may")
    resource_type: Mapped[str] = mapped_column(comment="Kind of resource, such as campaign")
    resource_id: Mapped[uuid.UUID] = mapped_column(comment="Key of the resource, such as a campaign_id")
    permission_level: Mapped[str] = mapped_column(comment="read, write (includes read) or admin (includes write)")
    granted_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("auth.users.user_id", ondelete="SET NULL"), index=True, comment="Who gave it, else null"
    )
    created_at: Mapped[dt.datetime] = mapped_column(server_default=NOW, comment="When it was given")
    expires_at: Mapped[dt.datetime | None] = mapped_column(comment="When it ends; null for never")


class Campaign(Base):
    """A campaign: what it is, its settings and the state of its game."""

    __tablename__ = "campaigns"
    __table_args__ = (
        CheckConstraint("char_length(name) BETWEEN 1 AND 200", name="name_length"),
        CheckConstraint("jsonb_typeof(settings) = 'object'", name="settings_object"),
        CheckConstraint("jsonb_typeof(state) = 'object'", name="state_object"),
        {"schema": "game", "comment": "Campaign metadata and settings"},
    )

    campaign_id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, server_default=NEW_UUID, comment="Key of the campaign"
    )
    owner_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("auth.users.user_id", ondelete="RESTRICT"),
        index=True,
        comment="Whose campaign it is; a user who owns one can't be deleted",
    )
    name: Mapped[str] = mapped_column(comment="Name shown to players")
    description: Mapped[str] = mapped_column(server_default="", comment="What it is about")
    settings: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY_OBJECT, comment="Options its owner chose")
    state: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY_OBJECT, comment="Where the game stands")
    is_active: Mapped[bool] = mapped_column(server_default=TRUE, comment="False once it is over or put away")
    created_at: Mapped[dt.datetime] = mapped_column(server_default=NOW, comment="When it was made")
    updated_at: Mapped[dt.datetime] = mapped_column(
        server_default=NOW, onupdate=NOW, comment="When the row was last changed"
    )


class CampaignParticipant(Base):
    """A user's place in a campaign."""

    __tablename__ = "campaign_participants"
    __table_args__ = (
        CheckConstraint("role IN ('game_master', 'player', 'spectator')", name="role_known"),
        CheckConstraint("left_at >= joined_at", name="left_after_joined"),
        {"schema": "game", "comment": "Players in campaigns"},
    )

    campaign_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("game.campaigns.campaign_id", ondelete="CASCADE"), primary_key=True, comment="The campaign"
    )
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("auth.users.user_id", ondelete="CASCADE"), primary_key=True, index=True, comment="Who takes part"
    )
    role: Mapped[str] = mapped_column(server_default="player", comment="game_master, player or spectator")
    character_name: Mapped[str | None] = mapped_column(comment="Name of the character played, else null")
    joined_at: Mapped[dt.datetime] = mapped_column(server_default=NOW, comment="When the user joined")
    left_at: Mapped[dt.datetime | None] = mapped_column(comment="When the user left; null while taking part")


class ChatMessage(Base):
    """One message of a campaign's chat. The table is partitioned by month: a row needs one that was made."""

    __tablename__ = "chat_history"
    __table_args__ = (
        # A partitioned table's key contains what it is partitioned by.
        PrimaryKeyConstraint("message_id", "created_at"),
        CheckConstraint("role IN ('user', 'assistant', 'system', 'tool')", name="role_known"),
        CheckConstraint("jsonb_typeof(metadata) = 'object'", name="metadata_object"),
        CheckConstraint(f"language IN ({', '.join(repr(name) for name in LANGUAGES)})", name="language_known"),
        Index(None, "campaign_id", "created_at", "message_id"),
        Index(None, "search", postgresql_using="gin"),
        {"schema": "game", "comment": "Message history of campaigns", "postgresql_partition_by": BY_MONTH},
    )

    message_id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), comment="Key of the message; grows with time"
    )
    campaign_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("game.campaigns.campaign_id", ondelete="CASCADE"), comment="The campaign it was said in"
    )
    user_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("auth.users.user_id", ondelete="SET NULL"),
        index=True,
        comment="Who sent it; null for the game itself and for deleted users",
    )
    role: Mapped[str] = mapped_column(comment="Who speaks: user, assistant, system or tool")
    content: Mapped[str] = mapped_column(comment="What was said")
    message_metadata: Mapped[dict[str, Any]] = mapped_column(
        "metadata", server_default=EMPTY_OBJECT, comment="What the backend keeps with it, such as model and tokens"
    )
    created_at: Mapped[dt.datetime] = mapped_column(server_default=NOW, comment="When it was said")
    language: Mapped[str] = mapped_column(
        server_default="english", comment="Language its words are searched in; simple for none"
    )
    search: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed("game.search_vector(language, campaign_id, content)", persisted=True),
        deferred=True,
        comment="What full-text search finds it by",
    )


class SecurityEvent(Base):
    """One event of the audit log, which is append-only and partitioned by month.

    The backend may insert but not read, and ``INSERT … RETURNING`` counts as reading: so the key is made here, and
    implicit RETURNING is off (SQLAlchemy asks the server for ``now()`` first instead).
    """

    __tablename__ = "security_events"
    __table_args__ = (
        PrimaryKeyConstraint("event_id", "created_at"),
        CheckConstraint("event_type ~ '^[a-z][a-z0-9_.]*$'", name="event_type_shape"),
        CheckConstraint("jsonb_typeof(details) = 'object'", name="details_object"),
        CheckConstraint("source IN ('backend', 'database')", name="source_known"),
        Index(None, "created_at"),
        Index(None, "event_type", "created_at"),
        Index(None, "user_id", "created_at"),
        {
            "schema": "audit",
            "comment": "Login attempts, permission changes and other security events",
            "implicit_returning": False,
            "postgresql_partition_by": BY_MONTH,
        },
    )
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 - SQLAlchemy's own declaration

    event_id: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4, server_default=NEW_UUID, comment="Key of the event")
    event_type: Mapped[str] = mapped_column(comment="What happened, such as login_failed or permission.granted")
    user_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="Who did it, null if unknown; no foreign key, so that events outlive users"
    )
    ip: Mapped[str | None] = mapped_column(INET, comment="Address it came from, else null")
    user_agent: Mapped[str | None] = mapped_column(comment="Browser or client as it named itself, else null")
    details: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="What else is known; no secrets"
    )
    created_at: Mapped[dt.datetime] = mapped_column(server_default=NOW, comment="When it happened")
    source: Mapped[str] = mapped_column(
        server_default="backend", comment="Who wrote it: the backend, or the database itself, which nobody can forge"
    )
