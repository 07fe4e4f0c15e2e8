"""Row-level security: who sees and changes which rows, for the backend's logins.

A policy asks a function once a statement (an uncorrelated subquery becomes an initplan), and the functions are the
owner's, whom policies don't bind: so no policy leads to another one.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

TABLES = (
    *("auth.users", "auth.oauth_accounts", "auth.sessions", "auth.access_control"),
    *("game.campaigns", "game.campaign_participants", "game.chat_history", "audit.security_events"),
)

# Levels: 1 read, 2 write, 3 admin. Owners and game masters have 3, players 2, spectators 1. In PL/pgSQL, which keeps
# its plans: an SQL function with a search_path of its own is planned at each call.
MY_CAMPAIGNS = """
CREATE FUNCTION game.my_campaigns(minimum text) RETURNS uuid[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    me uuid := auth.current_user_id();
    rank integer := CASE minimum WHEN 'read' THEN 1 WHEN 'write' THEN 2 WHEN 'admin' THEN 3 END;
BEGIN
    IF me IS NULL THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(
        SELECT c.campaign_id FROM game.campaigns c WHERE c.owner_id = me AND rank <= 3
      UNION
        SELECT p.campaign_id FROM game.campaign_participants p
        WHERE p.user_id = me AND p.left_at IS NULL
          AND rank <= CASE p.role WHEN 'game_master' THEN 3 WHEN 'player' THEN 2 ELSE 1 END
      UNION
        SELECT a.resource_id FROM auth.access_control a
        WHERE a.user_id = me AND a.resource_type = 'campaign'
          AND (a.expires_at IS NULL OR a.expires_at > statement_timestamp())
          AND rank <= CASE a.permission_level WHEN 'admin' THEN 3 WHEN 'write' THEN 2 ELSE 1 END);
END $$
"""

MAY = """
CREATE FUNCTION game.may(campaign uuid, minimum text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce(campaign = ANY (game.my_campaigns(minimum)), false);
END $$
"""

MEMBERS = """
CREATE FUNCTION game.members(campaign uuid)
RETURNS TABLE (user_id uuid, username text, role text, character_name text, joined_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.user_id, u.username, p.role, p.character_name, p.joined_at
    FROM game.campaign_participants p JOIN auth.users u USING (user_id)
    WHERE p.campaign_id = campaign AND p.left_at IS NULL
      AND (SELECT game.may(campaign, 'read') OR auth.is_admin())
    ORDER BY p.joined_at, p.user_id
$$
"""

LEAVE_CAMPAIGN = """
CREATE FUNCTION game.leave_campaign(campaign uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE game.campaign_participants SET left_at = now()
    WHERE campaign_id = campaign AND user_id = auth.current_user_id() AND left_at IS NULL
$$
"""

SET_CHARACTER = """
CREATE FUNCTION game.set_character(campaign uuid, name text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE game.campaign_participants SET character_name = name
    WHERE campaign_id = campaign AND user_id = auth.current_user_id() AND left_at IS NULL
$$
"""

TRANSFER_CAMPAIGN = """
CREATE FUNCTION game.transfer_campaign(campaign uuid, new_owner uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE game.campaigns SET owner_id = new_owner, updated_at = now()
    WHERE campaign_id = campaign AND (owner_id = auth.current_user_id() OR auth.is_admin());
    IF NOT FOUND THEN
        RAISE insufficient_privilege USING MESSAGE = 'a campaign is given away by its owner alone';
    END IF;
END $$
"""

POST_REPLY = """
CREATE FUNCTION game.post_reply(
    campaign uuid, role text, content text, metadata jsonb DEFAULT '{}', language text DEFAULT 'english')
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    made bigint;
BEGIN
    IF NOT game.may($1, 'write') OR $2 = 'user' THEN
        RAISE insufficient_privilege USING MESSAGE = 'the game answers in campaigns that the user may write in';
    END IF;
    INSERT INTO game.chat_history AS h (campaign_id, user_id, role, content, metadata, language)
    VALUES ($1, NULL, $2, $3, $4, $5) RETURNING h.message_id INTO made;
    RETURN made;
END $$
"""

# access_control names resources of any kind, so no foreign key can do it.
END_PERMISSIONS = """
CREATE FUNCTION game.end_permissions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM auth.access_control WHERE resource_type = 'campaign' AND resource_id = OLD.campaign_id;
    RETURN NULL;
END $$
"""

FUNCTIONS = {
    "game.my_campaigns(text)": "The campaigns in which the user of the signed identity has at least this level",
    "game.may(uuid, text)": "Whether the user of the signed identity has at least this level in a campaign",
    "game.members(uuid)": "Who takes part in a campaign, for those who may read it",
    "game.leave_campaign(uuid)": "Ends the caller''s part in a campaign",
    "game.set_character(uuid, text)": "Names the caller''s character in a campaign",
    "game.transfer_campaign(uuid, uuid)": "Gives a campaign to another owner",
    "game.post_reply(uuid, text, text, jsonb, text)": "Writes a message of the game itself",
    "game.end_permissions()": "Ends the permissions on a campaign that is deleted",
}

ME = "(SELECT auth.current_user_id())"
ADMIN = "(SELECT auth.is_admin())"
READ, WRITE, MANAGE = (f"ANY ((SELECT game.my_campaigns('{level}'))::uuid[])" for level in ("read", "write", "admin"))
OWN_CAMPAIGN = (
    f"EXISTS (SELECT FROM game.campaigns c WHERE c.campaign_id = {{table}}.campaign_id AND c.owner_id = {ME})"
)
STAFF = (
    f"(campaign_id = {MANAGE} OR {ADMIN}) AND (user_id <> {ME} OR "
    + OWN_CAMPAIGN.format(table="campaign_participants")
    + ")"
)
GRANTING = f"resource_type = 'campaign' AND user_id <> {ME} AND (resource_id = {MANAGE} OR {ADMIN})"

# table, command, USING, WITH CHECK: for gaia_backend, from which the app's logins inherit.
POLICIES: tuple[tuple[str, str, str | None, str | None], ...] = (
    ("auth.users", "SELECT", f"user_id = {ME} OR {ADMIN}", None),
    ("auth.users", "UPDATE", f"user_id = {ME}", f"user_id = {ME}"),
    ("auth.users", "DELETE", f"user_id = {ME}", None),
    ("auth.oauth_accounts", "SELECT", f"user_id = {ME} OR {ADMIN}", None),
    ("auth.oauth_accounts", "INSERT", None, f"user_id = {ME}"),
    ("auth.oauth_accounts", "UPDATE", f"user_id = {ME}", f"user_id = {ME}"),
    ("auth.oauth_accounts", "DELETE", f"user_id = {ME}", None),
    ("auth.sessions", "SELECT", f"user_id = {ME} OR {ADMIN}", None),
    # What was revoked stays so.
    ("auth.sessions", "UPDATE", f"user_id = {ME} AND revoked_at IS NULL", f"user_id = {ME}"),
    ("auth.sessions", "DELETE", f"user_id = {ME}", None),
    (
        "auth.access_control",
        "SELECT",
        f"user_id = {ME} OR (resource_type = 'campaign' AND resource_id = {MANAGE}) OR {ADMIN}",
        None,
    ),
    ("auth.access_control", "INSERT", None, f"{GRANTING} AND granted_by = {ME}"),
    ("auth.access_control", "UPDATE", GRANTING, GRANTING),
    ("auth.access_control", "DELETE", GRANTING, None),
    # By its own row first: a campaign that is just being made isn't among one's campaigns yet.
    ("game.campaigns", "SELECT", f"owner_id = {ME} OR campaign_id = {READ} OR {ADMIN}", None),
    ("game.campaigns", "INSERT", None, f"owner_id = {ME}"),
    ("game.campaigns", "UPDATE", f"campaign_id = {MANAGE} OR {ADMIN}", f"campaign_id = {MANAGE} OR {ADMIN}"),
    ("game.campaigns", "DELETE", f"owner_id = {ME} OR {ADMIN}", None),
    ("game.campaign_participants", "SELECT", f"campaign_id = {READ} OR {ADMIN}", None),
    ("game.campaign_participants", "INSERT", None, STAFF),
    ("game.campaign_participants", "UPDATE", STAFF, STAFF),
    ("game.campaign_participants", "DELETE", STAFF, None),
    ("game.chat_history", "SELECT", f"campaign_id = {READ} OR {ADMIN}", None),
    ("game.chat_history", "INSERT", None, f"campaign_id = {WRITE} AND user_id = {ME} AND role = 'user'"),
    (
        "game.chat_history",
        "UPDATE",
        f"campaign_id = {WRITE} AND user_id = {ME}",
        f"campaign_id = {WRITE} AND user_id = {ME}",
    ),
    (
        "game.chat_history",
        "DELETE",
        f"(campaign_id = {WRITE} AND user_id = {ME}) OR campaign_id = {MANAGE} OR {ADMIN}",
        None,
    ),
    (
        "audit.security_events",
        "INSERT",
        None,
        f"(user_id IS NULL OR user_id = {ME}) AND source = 'backend'"
        " AND created_at BETWEEN now() - interval '1 minute' AND now() + interval '1 minute'",
    ),
)

READERS = {
    "auth": ("gaia_readonly", "gaia_backup"),
    "game": ("gaia_readonly", "gaia_backup"),
    "audit": ("gaia_auditor", "gaia_backup"),
}
"""Who reads all rows of a schema's tables, as far as they are granted. Cloud SQL gives nobody BYPASSRLS."""


def upgrade() -> None:
    for statement in (
        *(MY_CAMPAIGNS, MAY, MEMBERS),
        *(LEAVE_CAMPAIGN, SET_CHARACTER, TRANSFER_CAMPAIGN, POST_REPLY, END_PERMISSIONS),
    ):
        op.execute(statement)
    for function, comment in FUNCTIONS.items():
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
    op.execute(
        "CREATE TRIGGER end_permissions AFTER DELETE ON game.campaigns FOR EACH ROW"
        " EXECUTE FUNCTION game.end_permissions()"
    )
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        readers = ", ".join(READERS[table.split(".")[0]])
        op.execute(f"CREATE POLICY readers ON {table} FOR SELECT TO {readers} USING (true)")
    for table, command, using, check in POLICIES:
        clauses = (f" USING ({using})" if using else "") + (f" WITH CHECK ({check})" if check else "")
        op.execute(f"CREATE POLICY backend_{command.lower()} ON {table} FOR {command} TO gaia_backend{clauses}")


def downgrade() -> None:
    for table, command, _, _ in POLICIES:
        op.execute(f"DROP POLICY backend_{command.lower()} ON {table}")
    for table in TABLES:
        op.execute(f"DROP POLICY readers ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    op.execute("DROP TRIGGER end_permissions ON game.campaigns")
    for function in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {function}")
