"""Users, their OAuth2 accounts, sessions and permissions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA auth")
    op.execute("COMMENT ON SCHEMA auth IS 'Authentication and user management'")
    op.create_table(
        "users",
        sa.Column(
            "user_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False, comment="Key of the user"
        ),
        sa.Column("username", sa.Text(), nullable=False, comment="Name shown to others, unique whatever its case"),
        sa.Column("email", sa.Text(), nullable=False, comment="Address as the user wrote it, unique whatever its case"),
        sa.Column(
            "password_hash",
            sa.Text(),
            nullable=True,
            comment="Salted hash made by the backend, never a password; null for who signs in with OAuth2 only",
        ),
        sa.Column(
            "is_admin",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="May see and change everything",
        ),
        sa.Column(
            "is_active",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="False bars the user from signing in",
        ),
        sa.Column(
            "email_verified_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the address was proved, else null",
        ),
        sa.Column(
            "last_login_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Last time the user signed in, else null",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the account was made",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was last changed",
        ),
        sa.CheckConstraint(
            "char_length(email) <= 320 AND email ~ '^[^@ ]+@[^@ ]+$'", name=op.f("ck_users_email_shape")
        ),
        sa.CheckConstraint("char_length(username) BETWEEN 1 AND 64", name=op.f("ck_users_username_length")),
        sa.CheckConstraint("username = btrim(username)", name=op.f("ck_users_username_trimmed")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_users")),
        schema="auth",
        comment="User accounts",
    )
    op.create_index("uq_users_email_lower", "users", [sa.literal_column("lower(email)")], unique=True, schema="auth")
    op.create_index(
        "uq_users_username_lower", "users", [sa.literal_column("lower(username)")], unique=True, schema="auth"
    )
    op.create_table(
        "access_control",
        sa.Column(
            "access_control_id",
            sa.Uuid(),
            server_default=sa.text("gen_random_uuid()"),
            nullable=False,
            comment="Key of the permission",
        ),
        sa.Column("user_id", sa.Uuid(), nullable=False, comment="Who may"),
        sa.Column("resource_type", sa.Text(), nullable=False, comment="Kind of resource, such as campaign"),
        sa.Column("resource_id", sa.Uuid(), nullable=False, comment="Key of the resource, such as a campaign_id"),
        sa.Column(
            "permission_level",
            sa.Text(),
            nullable=False,
            comment="read, write (includes read) or admin (includes write)",
        ),
        sa.Column("granted_by", sa.Uuid(), nullable=True, comment="Who gave it, else null"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was given",
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True, comment="When it ends; null for never"),
        sa.CheckConstraint(
            "permission_level IN ('read', 'write', 'admin')", name=op.f("ck_access_control_permission_level_known")
        ),
        sa.CheckConstraint("resource_type ~ '^[a-z][a-z0-9_]*$'", name=op.f("ck_access_control_resource_type_shape")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_access_control_expires_after_start")),
        sa.ForeignKeyConstraint(
            ["granted_by"], ["auth.users.user_id"], name=op.f("fk_access_control_granted_by_users"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["auth.users.user_id"], name=op.f("fk_access_control_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("access_control_id", name=op.f("pk_access_control")),
        sa.UniqueConstraint(
            "user_id", "resource_type", "resource_id", name=op.f("uq_access_control_user_id_resource_type_resource_id")
        ),
        schema="auth",
        comment="Resource-level permissions",
    )
    op.create_index(op.f("ix_access_control_granted_by"), "access_control", ["granted_by"], unique=False, schema="auth")
    op.create_index(
        op.f("ix_access_control_resource_type_resource_id"),
        "access_control",
        ["resource_type", "resource_id"],
        unique=False,
        schema="auth",
    )
    op.create_table(
        "oauth_accounts",
        sa.Column(
            "oauth_account_id",
            sa.Uuid(),
            server_default=sa.text("gen_random_uuid()"),
            nullable=False,
            comment="Key of the provider account",
        ),
        sa.Column("user_id", sa.Uuid(), nullable=False, comment="Whose account it is"),
        sa.Column("provider", sa.Text(), nullable=False, comment="Provider in lower case, such as google or discord"),
        sa.Column("provider_account_id", sa.Text(), nullable=False, comment="The user's identifier at the provider"),
        sa.Column("email", sa.Text(), nullable=True, comment="Address the provider reported, else null"),
        sa.Column(
            "access_token_encrypted",
            sa.LargeBinary(),
            nullable=True,
            comment="Access token encrypted by the backend; never plain text",
        ),
        sa.Column(
            "refresh_token_encrypted",
            sa.LargeBinary(),
            nullable=True,
            comment="Refresh token encrypted by the backend; never plain text",
        ),
        sa.Column(
            "encryption_key_id",
            sa.Text(),
            nullable=True,
            comment="Name of the key the tokens are encrypted with (the key itself is not in the database)",
        ),
        sa.Column(
            "token_expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the access token ends, else null",
        ),
        sa.Column(
            "scopes",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
            comment="Scopes the user granted",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the account was linked",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was last changed",
        ),
        sa.CheckConstraint("provider ~ '^[a-z][a-z0-9_-]*$'", name=op.f("ck_oauth_accounts_provider_shape")),
        sa.CheckConstraint(
            "encryption_key_id IS NOT NULL OR (access_token_encrypted IS NULL AND refresh_token_encrypted IS NULL)",
            name=op.f("ck_oauth_accounts_tokens_name_their_key"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["auth.users.user_id"], name=op.f("fk_oauth_accounts_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("oauth_account_id", name=op.f("pk_oauth_accounts")),
        sa.UniqueConstraint(
            "provider", "provider_account_id", name=op.f("uq_oauth_accounts_provider_provider_account_id")
        ),
        schema="auth",
        comment="OAuth2 provider accounts",
    )
    op.create_index(op.f("ix_oauth_accounts_user_id"), "oauth_accounts", ["user_id"], unique=False, schema="auth")
    op.create_table(
        "sessions",
        sa.Column(
            "session_id",
            sa.Uuid(),
            server_default=sa.text("gen_random_uuid()"),
            nullable=False,
            comment="Key of the session; not the token",
        ),
        sa.Column("user_id", sa.Uuid(), nullable=False, comment="Who is signed in"),
        sa.Column(
            "token_hash",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the session token; the token itself is not stored",
        ),
        sa.Column("ip", postgresql.INET(), nullable=True, comment="Address the session was opened from, else null"),
        sa.Column("user_agent", sa.Text(), nullable=True, comment="Browser or client as it named itself, else null"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the user signed in",
        ),
        sa.Column(
            "last_seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Last request in this session",
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="When the session ends by itself"),
        sa.Column(
            "revoked_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was ended before its time, else null",
        ),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_sessions_expires_after_start")),
        sa.CheckConstraint("octet_length(token_hash) = 32", name=op.f("ck_sessions_token_hash_is_sha256")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["auth.users.user_id"], name=op.f("fk_sessions_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sessions_token_hash")),
        schema="auth",
        comment="Active user sessions",
    )
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"], unique=False, schema="auth")
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"], unique=False, schema="auth")


def downgrade() -> None:
    op.drop_table("sessions", schema="auth")
    op.drop_table("oauth_accounts", schema="auth")
    op.drop_table("access_control", schema="auth")
    op.drop_table("users", schema="auth")
    op.execute("DROP SCHEMA auth")
