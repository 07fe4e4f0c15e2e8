"""chat_history and security_events by month, and messages that can be searched.

Both tables are copied into partitioned ones. No default partition: with one, "last 50" merges all partitions, and
none can be detached CONCURRENTLY. So an insert beyond the months that were made fails, loudly.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

waivers = {
    "GAIA010-data-loss": "the rows were copied into the new table a moment before, in the same transaction",
    "renaming-table": "the new table takes the old name in the same transaction: no client sees it missing",
}

LANGUAGES = (
    *("arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french", "german", "greek"),
    *("hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "portuguese"),
    *("romanian", "russian", "serbian", "simple", "spanish", "swedish", "tamil", "turkish", "yiddish"),
)
"""The text search configurations that PostgreSQL 16 brings."""
NEWLINE = "\n"

# A column of type regconfig would block pg_upgrade, and a cast from text isn't immutable: so the language is text, and
# each configuration a constant. The campaign's lexeme lets the index find a word in one campaign without looking at
# the others; no text can make a lexeme that begins with '@'. A tsvector holds at most a megabyte.
SEARCH_VECTOR = f"""
CREATE FUNCTION game.search_vector(language text, campaign_id uuid, content text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_to_tsvector(ARRAY['@' || replace(campaign_id::text, '-', '')]) || CASE language
{NEWLINE.join(f"    WHEN '{name}' THEN to_tsvector('pg_catalog.{name}'::regconfig, left(content, 200000))" for name in LANGUAGES)}
END
"""  # noqa: E501

# OR REPLACE: detached months of an earlier upgrade may still be guarded by it.
REFUSE_CHANGE = """
CREATE OR REPLACE FUNCTION audit.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = format(
        '%s on %I.%I: the audit log is append-only', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME);
END $$
"""

# Detached months of the audit log stay append-only, and keep the function.
FORGET_GUARD = """
DO $$ BEGIN
    DROP FUNCTION audit.refuse_change();
EXCEPTION WHEN dependent_objects_still_exist THEN
    RAISE NOTICE 'detached months keep audit.refuse_change()';
END $$
"""

# LIKE and ATTACH rather than PARTITION OF, which would lock the parent against reading. Statement triggers aren't
# inherited by partitions, and row triggers go when one is detached: each gets statement triggers of its own.
ADD_MONTHS = """
CREATE FUNCTION audit.add_months(parent regclass, first date, last date) RETURNS SETOF text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    month date := date_trunc('month', first);
    place text;
    stem text;
    partition text;
BEGIN
    SELECT nspname, relname INTO STRICT place, stem
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = parent;
    WHILE month <= last LOOP
        partition := format('%I.%I', place, format('%s_%s', stem, to_char(month, 'YYYY_MM')));
        IF to_regclass(partition) IS NULL THEN
            EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED'
                ' INCLUDING COMMENTS INCLUDING STORAGE)', partition, parent);
            IF parent = 'audit.security_events'::regclass THEN
                EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %s'
                    ' FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', partition);
                EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON %s'
                    ' FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', partition);
            END IF;
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', parent, partition,
                month || ' 00:00:00+00', (month + interval '1 month')::date || ' 00:00:00+00');
            RETURN NEXT partition;
        END IF;
        month := month + interval '1 month';
    END LOOP;
END $$
"""

# The months of the rows that are there, and twelve ahead.
FILL_MONTHS = """
SELECT audit.add_months('{table}',
    (least(min(created_at), now()) AT TIME ZONE 'UTC')::date,
    (greatest(max(created_at), now() + interval '12 months') AT TIME ZONE 'UTC')::date)
FROM {table}_before
"""

CHAT_COLUMNS = "message_id, campaign_id, user_id, role, content, metadata, created_at"
EVENT_COLUMNS = "event_id, event_type, user_id, ip, user_agent, details, created_at"


def upgrade() -> None:
    op.execute(SEARCH_VECTOR)
    op.execute(
        "COMMENT ON FUNCTION game.search_vector IS 'What full-text search finds a message by: its words, its campaign'"
    )
    op.execute(REFUSE_CHANGE)
    op.execute("COMMENT ON FUNCTION audit.refuse_change IS 'Keeps the audit log append-only, for its owner too'")
    op.execute(ADD_MONTHS)
    op.execute("COMMENT ON FUNCTION audit.add_months IS 'Makes the partitions of a table from one month to another'")
    _chat_history(by_month=True)
    _security_events(by_month=True)
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit.security_events"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON audit.security_events"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()"
    )


def downgrade() -> None:
    _security_events(by_month=False)
    _chat_history(by_month=False)
    op.execute("DROP FUNCTION audit.add_months(regclass, date, date)")
    op.execute(FORGET_GUARD)
    # Detached months keep their rows, and lose the column that is made of them.
    op.execute("DROP FUNCTION game.search_vector(text, uuid, text) CASCADE")


def _chat_history(*, by_month: bool) -> None:
    indexes = {
        "ix_chat_history_campaign_id_created_at_message_id": ["campaign_id", "created_at", "message_id"],
        "ix_chat_history_user_id": ["user_id"],
    }
    _set_aside("game.chat_history", ["pk_chat_history", *indexes, *([] if by_month else ["ix_chat_history_search"])])
    op.execute(
        "ALTER SEQUENCE game.chat_history_message_id_seq RENAME TO chat_history_before_message_id_seq",
    )
    searched: list[Any] = [
        sa.Column(
            "language",
            sa.Text(),
            server_default="english",
            nullable=False,
            comment="Language its words are searched in; simple for none",
        ),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed("game.search_vector(language, campaign_id, content)", persisted=True),
            nullable=False,
            comment="What full-text search finds it by",
        ),
        sa.CheckConstraint(
            f"language IN ({', '.join(repr(name) for name in LANGUAGES)})", name=op.f("ck_chat_history_language_known")
        ),
    ]
    op.create_table(
        "chat_history",
        sa.Column(
            "message_id",
            sa.BigInteger(),
            sa.Identity(always=True),
            nullable=False,
            comment="Key of the message; grows with time",
        ),
        sa.Column("campaign_id", sa.Uuid(), nullable=False, comment="The campaign it was said in"),
        sa.Column(
            "user_id", sa.Uuid(), nullable=True, comment="Who sent it; null for the game itself and for deleted users"
        ),
        sa.Column("role", sa.Text(), nullable=False, comment="Who speaks: user, assistant, system or tool"),
        sa.Column("content", sa.Text(), nullable=False, comment="What was said"),
        sa.Column(
            "metadata",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="What the backend keeps with it, such as model and tokens",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was said",
        ),
        *(searched if by_month else []),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name=op.f("ck_chat_history_metadata_object")),
        sa.CheckConstraint("role IN ('user', 'assistant', 'system', 'tool')", name=op.f("ck_chat_history_role_known")),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["game.campaigns.campaign_id"],
            name=op.f("fk_chat_history_campaign_id_campaigns"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["auth.users.user_id"], name=op.f("fk_chat_history_user_id_users"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("message_id", "created_at", name=op.f("pk_chat_history")),
        schema="game",
        comment="Message history of campaigns",
        postgresql_partition_by="RANGE (created_at)" if by_month else None,
    )
    for name, columns in indexes.items():
        op.create_index(name, "chat_history", columns, schema="game")
    if by_month:
        op.create_index("ix_chat_history_search", "chat_history", ["search"], schema="game", postgresql_using="gin")
        op.execute(FILL_MONTHS.format(table="game.chat_history"))
    op.execute(
        f"INSERT INTO game.chat_history ({CHAT_COLUMNS}) OVERRIDING SYSTEM VALUE"
        f" SELECT {CHAT_COLUMNS} FROM game.chat_history_before"
    )
    op.execute(
        "SELECT setval('game.chat_history_message_id_seq', last_value, is_called)"
        " FROM game.chat_history_before_message_id_seq"
    )
    op.execute("DROP TABLE game.chat_history_before")


def _security_events(*, by_month: bool) -> None:
    indexes = {
        "ix_security_events_created_at": ["created_at"],
        "ix_security_events_event_type_created_at": ["event_type", "created_at"],
        "ix_security_events_user_id_created_at": ["user_id", "created_at"],
    }
    _set_aside("audit.security_events", ["pk_security_events", *indexes])
    op.create_table(
        "security_events",
        sa.Column(
            "event_id",
            sa.Uuid(),
            server_default=sa.text("gen_random_uuid()"),
            nullable=False,
            comment="Key of the event",
        ),
        sa.Column(
            "event_type", sa.Text(), nullable=False, comment="What happened, such as login_failed or permission.granted"
        ),
        sa.Column(
            "user_id",
            sa.Uuid(),
            nullable=True,
            comment="Who did it, null if unknown; no foreign key, so that events outlive users",
        ),
        sa.Column("ip", postgresql.INET(), nullable=True, comment="Address it came from, else null"),
        sa.Column("user_agent", sa.Text(), nullable=True, comment="Browser or client as it named itself, else null"),
        sa.Column(
            "details",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="What else is known; no secrets",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it happened",
        ),
        sa.CheckConstraint("event_type ~ '^[a-z][a-z0-9_.]*$'", name=op.f("ck_security_events_event_type_shape")),
        sa.CheckConstraint("jsonb_typeof(details) = 'object'", name=op.f("ck_security_events_details_object")),
        sa.PrimaryKeyConstraint("event_id", "created_at", name=op.f("pk_security_events")),
        schema="audit",
        comment="Login attempts, permission changes and other security events",
        postgresql_partition_by="RANGE (created_at)" if by_month else None,
    )
    for name, columns in indexes.items():
        op.create_index(name, "security_events", columns, schema="audit")
    if by_month:
        op.execute(FILL_MONTHS.format(table="audit.security_events"))
    op.execute(
        f"INSERT INTO audit.security_events ({EVENT_COLUMNS}) SELECT {EVENT_COLUMNS} FROM audit.security_events_before"
    )
    op.execute("DROP TABLE audit.security_events_before")


def _set_aside(table: str, indexes: list[str]) -> None:
    """Rename a table and its indexes out of the way of the one that takes its place."""
    schema, _, name = table.partition(".")
    op.execute(f"ALTER TABLE {table} RENAME TO {name}_before")
    for index in indexes:
        op.execute(f"ALTER INDEX {schema}.{index} RENAME TO before_{index}")
