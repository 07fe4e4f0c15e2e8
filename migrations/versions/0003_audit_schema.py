"""The audit log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("CREATE SCHEMA audit")
    op.execute("COMMENT ON SCHEMA audit IS 'Security and audit logging'")
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
    )
    op.create_index(
        op.f("ix_security_events_created_at"), "security_events", ["created_at"], unique=False, schema="audit"
    )
    op.create_index(
        op.f("ix_security_events_event_type_created_at"),
        "security_events",
        ["event_type", "created_at"],
        unique=False,
        schema="audit",
    )
    op.create_index(
        op.f("ix_security_events_user_id_created_at"),
        "security_events",
        ["user_id", "created_at"],
        unique=False,
        schema="audit",
    )


def downgrade() -> None:
    op.drop_table("security_events", schema="audit")
    op.execute("DROP SCHEMA audit")
