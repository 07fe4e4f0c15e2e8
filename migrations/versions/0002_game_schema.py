"""Campaigns, who takes part in them, and their chat."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("CREATE SCHEMA game")
    op.execute("COMMENT ON SCHEMA game IS 'Game data and state'")
    op.create_table(
        "campaigns",
        sa.Column(
            "campaign_id",
            sa.Uuid(),
            server_default=sa.text("gen_random_uuid()"),
            nullable=False,
            comment="Key of the campaign",
        ),
        sa.Column(
            "owner_id", sa.Uuid(), nullable=False, comment="Whose campaign it is; a user who owns one can't be deleted"
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="Name shown to players"),
        sa.Column("description", sa.Text(), server_default="", nullable=False, comment="What it is about"),
        sa.Column(
            "settings",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="Options its owner chose",
        ),
        sa.Column(
            "state",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="Where the game stands",
        ),
        sa.Column(
            "is_active",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="False once it is over or put away",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was made",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was last changed",
        ),
        sa.CheckConstraint("jsonb_typeof(settings) = 'object'", name=op.f("ck_campaigns_settings_object")),
        sa.CheckConstraint("jsonb_typeof(state) = 'object'", name=op.f("ck_campaigns_state_object")),
        sa.CheckConstraint("char_length(name) BETWEEN 1 AND 200", name=op.f("ck_campaigns_name_length")),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["auth.users.user_id"], name=op.f("fk_campaigns_owner_id_users"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_campaigns")),
        schema="game",
        comment="Campaign metadata and settings",
    )
    op.create_index(op.f("ix_campaigns_owner_id"), "campaigns", ["owner_id"], unique=False, schema="game")
    op.create_table(
        "campaign_participants",
        sa.Column("campaign_id", sa.Uuid(), nullable=False, comment="The campaign"),
        sa.Column("user_id", sa.Uuid(), nullable=False, comment="Who takes part"),
        sa.Column(
            "role", sa.Text(), server_default="player", nullable=False, comment="game_master, player or spectator"
        ),
        sa.Column("character_name", sa.Text(), nullable=True, comment="Name of the character played, else null"),
        sa.Column(
            "joined_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the user joined",
        ),
        sa.Column(
            "left_at", sa.DateTime(timezone=True), nullable=True, comment="When the user left; null while taking part"
        ),
        sa.CheckConstraint(
            "role IN ('game_master', 'player', 'spectator')", name=op.f("ck_campaign_participants_role_known")
        ),
        sa.CheckConstraint("left_at >= joined_at", name=op.f("ck_campaign_participants_left_after_joined")),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["game.campaigns.campaign_id"],
            name=op.f("fk_campaign_participants_campaign_id_campaigns"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["auth.users.user_id"], name=op.f("fk_campaign_participants_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("campaign_id", "user_id", name=op.f("pk_campaign_participants")),
        schema="game",
        comment="Players in campaigns",
    )
    op.create_index(
        op.f("ix_campaign_participants_user_id"), "campaign_participants", ["user_id"], unique=False, schema="game"
    )
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
    )
    op.create_index(
        op.f("ix_chat_history_campaign_id_created_at_message_id"),
        "chat_history",
        ["campaign_id", "created_at", "message_id"],
        unique=False,
        schema="game",
    )
    op.create_index(op.f("ix_chat_history_user_id"), "chat_history", ["user_id"], unique=False, schema="game")


def downgrade() -> None:
    op.drop_table("chat_history", schema="game")
    op.drop_table("campaign_participants", schema="game")
    op.drop_table("campaigns", schema="game")
    op.execute("DROP SCHEMA game")
