"""The signed identity: who the backend acts for, in a way that SQL can't forge.

The backend puts a token into the setting ``app.identity``, for the transaction: key, user, expiry, HMAC-SHA-256. The
key is readable by this revision's function alone. ``db/identity.py`` makes the tokens.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# HMAC (RFC 2104) from the built-in sha256, with the two padded keys stored ready-made. Whoever is deactivated or
# deleted is nobody at once, whatever the token's expiry.
CURRENT_USER_ID = """
CREATE FUNCTION auth.current_user_id() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    token text := current_setting('app.identity', true);
    claim text;
    person uuid;
BEGIN
    IF token IS NULL OR length(token) NOT BETWEEN 100 AND 130 THEN
        RETURN NULL;
    END IF;
    claim := left(token, -65);
    -- Nothing of the token is read before its signature holds; then its parts have the right shape.
    PERFORM FROM auth.identity_keys
    WHERE key_id = left(claim, 8) AND '.' || encode(
        sha256(outer_pad || sha256(inner_pad || convert_to(claim, 'UTF8'))), 'hex') = right(token, 65);
    IF NOT FOUND OR split_part(claim, '.', 3)::bigint <= extract(epoch FROM clock_timestamp()) THEN
        RETURN NULL;
    END IF;
    SELECT user_id INTO person FROM auth.users WHERE user_id = split_part(claim, '.', 2)::uuid AND is_active;
    RETURN person;
END $$
"""

IS_ADMIN = """
CREATE FUNCTION auth.is_admin() RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    me uuid := auth.current_user_id();
BEGIN
    RETURN EXISTS (SELECT FROM auth.users WHERE user_id = me AND is_admin);
END $$
"""


# A key's name tells nothing about the key.
KNOWS_KEY = """
CREATE FUNCTION auth.knows_key(name text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM auth.identity_keys WHERE key_id = name);
END $$
"""


def upgrade() -> None:
    op.create_table(
        "identity_keys",
        sa.Column("key_id", sa.Text(), nullable=False, comment="First 8 hexadecimal digits of the key's SHA-256"),
        sa.Column("inner_pad", sa.LargeBinary(), nullable=False, comment="Key XOR 0x36, 64 bytes (RFC 2104)"),
        sa.Column("outer_pad", sa.LargeBinary(), nullable=False, comment="Key XOR 0x5c, 64 bytes (RFC 2104)"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was installed",
        ),
        sa.CheckConstraint("key_id ~ '^[0-9a-f]{8}$'", name=op.f("ck_identity_keys_key_id_shape")),
        sa.CheckConstraint(
            "octet_length(inner_pad) = 64 AND octet_length(outer_pad) = 64",
            name=op.f("ck_identity_keys_pads_are_blocks"),
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_identity_keys")),
        schema="auth",
        comment="Keys that identities are signed with; nobody reads them but auth.current_user_id()",
    )
    # No policy: gaia_backup, which may read every table, gets no row of it. An `up` installs the keys again.
    op.execute("ALTER TABLE auth.identity_keys ENABLE ROW LEVEL SECURITY")
    op.execute(CURRENT_USER_ID)
    op.execute(
        "COMMENT ON FUNCTION auth.current_user_id IS 'The user of the signed identity; null without a valid one'"
    )
    op.execute(KNOWS_KEY)
    op.execute("COMMENT ON FUNCTION auth.knows_key IS 'Whether the database has the identity key of this name'")
    op.execute(IS_ADMIN)
    op.execute("COMMENT ON FUNCTION auth.is_admin IS 'Whether the user of the signed identity is an administrator'")


def downgrade() -> None:
    op.execute("DROP FUNCTION auth.is_admin()")
    op.execute("DROP FUNCTION auth.knows_key(text)")
    op.execute("DROP FUNCTION auth.current_user_id()")
    op.drop_table("identity_keys", schema="auth")
