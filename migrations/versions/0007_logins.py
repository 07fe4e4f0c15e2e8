"""What the backend may call before it knows who is there: looking up a login, registering, opening a session.

Each is a definer function, so the app's login needs no right to the tables behind it.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

# A text with an @ is an e-mail address, never a username: else one could register another's address as one's name.
FIND_LOGIN = """
CREATE FUNCTION auth.find_login(login text)
RETURNS TABLE (user_id uuid, password_hash text, is_active boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.user_id, u.password_hash, u.is_active FROM auth.users u
    WHERE lower(u.email) = lower(login) AND strpos(login, '@') > 0
  UNION ALL
    SELECT u.user_id, u.password_hash, u.is_active FROM auth.users u
    WHERE lower(u.username) = lower(login) AND strpos(login, '@') = 0
$$
"""

FIND_OAUTH_LOGIN = """
CREATE FUNCTION auth.find_oauth_login(provider text, provider_account_id text) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.user_id FROM auth.oauth_accounts a JOIN auth.users u USING (user_id)
    WHERE a.provider = $1 AND a.provider_account_id = $2 AND u.is_active
$$
"""

REGISTER = """
CREATE FUNCTION auth.register(username text, email text, password_hash text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    made uuid;
BEGIN
    INSERT INTO auth.users AS u (username, email, password_hash) VALUES ($1, $2, $3) RETURNING u.user_id INTO made;
    PERFORM audit.record('user_registered', jsonb_build_object('subject', made));
    RETURN made;
END $$
"""

# It asks for the signed identity: a statement that was smuggled in can't open a session for somebody else.
OPEN_SESSION = """
CREATE FUNCTION auth.open_session(
    user_id uuid, token_hash bytea, expires_at timestamptz, ip inet DEFAULT NULL, user_agent text DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    opened uuid;
BEGIN
    IF auth.current_user_id() IS DISTINCT FROM $1 OR $1 IS NULL THEN
        RAISE insufficient_privilege USING MESSAGE = 'a session is opened for the user of the signed identity alone';
    END IF;
    INSERT INTO auth.sessions AS s (user_id, token_hash, expires_at, ip, user_agent)
    VALUES ($1, $2, $3, $4, $5) RETURNING s.session_id INTO opened;
    UPDATE auth.users u SET last_login_at = now() WHERE u.user_id = $1;
    PERFORM audit.record('login_succeeded', jsonb_build_object('session', opened), $4, $5);
    RETURN opened;
END $$
"""

RESUME_SESSION = """
CREATE FUNCTION auth.resume_session(token_hash bytea) RETURNS TABLE (session_id uuid, user_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    live record;
BEGIN
    SELECT s.session_id, s.user_id, s.last_seen_at INTO live FROM auth.sessions s JOIN auth.users u USING (user_id)
    WHERE s.token_hash = $1 AND s.revoked_at IS NULL AND s.expires_at > now() AND u.is_active;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- Each request asks; a row written by each would be in each other's way.
    IF live.last_seen_at < now() - interval '1 minute' THEN
        UPDATE auth.sessions s SET last_seen_at = now() WHERE s.session_id = live.session_id;
    END IF;
    RETURN QUERY SELECT live.session_id, live.user_id;
END $$
"""

RECORD_FAILED_LOGIN = """
CREATE FUNCTION auth.record_failed_login(login text, ip inet DEFAULT NULL, user_agent text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM audit.record('login_failed', jsonb_build_object('attempted', left($1, 320),
        'subject', (SELECT user_id FROM auth.find_login($1))), $2, $3);
END $$
"""

FUNCTIONS = {
    "auth.find_login(text)": "The account of an e-mail address or a username, whatever its case",
    "auth.find_oauth_login(text, text)": "The active user of a provider account",
    "auth.register(text, text, text)": "Makes an account",
    "auth.open_session(uuid, bytea, timestamptz, inet, text)": "Opens a session for the user of the signed identity",
    "auth.resume_session(bytea)": "The live session of a token, and whose it is",
    "auth.record_failed_login(text, inet, text)": "Writes a failed login to the audit log",
}


def upgrade() -> None:
    for statement in (FIND_LOGIN, FIND_OAUTH_LOGIN, REGISTER, OPEN_SESSION, RESUME_SESSION, RECORD_FAILED_LOGIN):
        op.execute(statement)
    for function, comment in FUNCTIONS.items():
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")


def downgrade() -> None:
    for function in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {function}")
