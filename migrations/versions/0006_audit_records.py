"""Events that the database writes itself: who became administrator, owner, or got a permission; DDL.

The event trigger for DDL needs a superuser, who makes it beside the roles where there is one; Cloud SQL has pgaudit.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

waivers = {
    "GAIA027-checked-column": "no release runs before this revision: every database is empty of events until then",
}

RECORD = """
CREATE FUNCTION audit.record(event_type text, details jsonb, ip inet DEFAULT NULL, user_agent text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO audit.security_events (event_type, user_id, ip, user_agent, details, source)
    VALUES (event_type, auth.current_user_id(), ip, user_agent,
            details || jsonb_build_object('login', session_user::text), 'database');
END $$
"""

ADMIN_CHANGED = """
CREATE FUNCTION audit.record_admin() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM audit.record('admin_changed', jsonb_build_object(
        'subject', NEW.user_id, 'before', CASE TG_OP WHEN 'UPDATE' THEN OLD.is_admin END, 'after', NEW.is_admin));
    RETURN NULL;
END $$
"""

OWNER_CHANGED = """
CREATE FUNCTION audit.record_owner() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM audit.record('campaign_owner_changed', jsonb_build_object(
        'campaign', NEW.campaign_id, 'before', OLD.owner_id, 'after', NEW.owner_id));
    RETURN NULL;
END $$
"""

PERMISSION_CHANGED = """
CREATE FUNCTION audit.record_permission() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM audit.record(
        CASE TG_OP WHEN 'INSERT' THEN 'permission_granted' WHEN 'UPDATE' THEN 'permission_changed'
            ELSE 'permission_revoked' END,
        jsonb_build_object('before', CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
                           'after', CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END));
    RETURN NULL;
END $$
"""

# A log that can't be written must not stop the DDL that mends it: a missing month, for one.
DDL = """
CREATE FUNCTION audit.record_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    command record;
BEGIN
    IF TG_EVENT = 'sql_drop' THEN
        FOR command IN SELECT object_type, object_identity FROM pg_event_trigger_dropped_objects()
            WHERE original AND NOT is_temporary
        LOOP
            PERFORM audit.record('ddl', jsonb_build_object('command', TG_TAG, 'object', command.object_identity));
        END LOOP;
    ELSE
        FOR command IN SELECT command_tag, object_identity FROM pg_event_trigger_ddl_commands()
            WHERE schema_name IS DISTINCT FROM 'pg_temp'
        LOOP
            PERFORM audit.record('ddl', jsonb_build_object(
                'command', command.command_tag, 'object', command.object_identity));
        END LOOP;
    END IF;
EXCEPTION WHEN others THEN
    RAISE WARNING 'the audit log has no record of this %: %', TG_TAG, SQLERRM;
END $$
"""

FUNCTIONS = {
    "audit.record(text, jsonb, inet, text)": "Writes an event of the database itself",
    "audit.record_admin()": "Records who becomes administrator, or no longer is one",
    "audit.record_owner()": "Records that a campaign has another owner",
    "audit.record_permission()": "Records each change of a permission",
    "audit.record_ddl()": "Records DDL, where a superuser made the event trigger",
}


def upgrade() -> None:
    op.add_column(
        "security_events",
        sa.Column(
            "source",
            sa.Text(),
            sa.CheckConstraint("source IN ('backend', 'database')", name=op.f("ck_security_events_source_known")),
            server_default="backend",
            nullable=False,
            comment="Who wrote it: the backend, or the database itself, which nobody can forge",
        ),
        schema="audit",
    )
    for statement in (RECORD, ADMIN_CHANGED, OWNER_CHANGED, PERMISSION_CHANGED, DDL):
        op.execute(statement)
    for function, comment in FUNCTIONS.items():
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
    op.execute(
        "CREATE TRIGGER record_admin AFTER UPDATE OF is_admin ON auth.users FOR EACH ROW"
        " WHEN (OLD.is_admin <> NEW.is_admin) EXECUTE FUNCTION audit.record_admin()"
    )
    op.execute(
        "CREATE TRIGGER record_first_admin AFTER INSERT ON auth.users FOR EACH ROW"
        " WHEN (NEW.is_admin) EXECUTE FUNCTION audit.record_admin()"
    )
    op.execute(
        "CREATE TRIGGER record_owner AFTER UPDATE OF owner_id ON game.campaigns FOR EACH ROW"
        " WHEN (OLD.owner_id <> NEW.owner_id) EXECUTE FUNCTION audit.record_owner()"
    )
    op.execute(
        "CREATE TRIGGER record_permission AFTER INSERT OR UPDATE OR DELETE ON auth.access_control FOR EACH ROW"
        " EXECUTE FUNCTION audit.record_permission()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER record_permission ON auth.access_control")
    op.execute("DROP TRIGGER record_owner ON game.campaigns")
    op.execute("DROP TRIGGER record_first_admin ON auth.users")
    op.execute("DROP TRIGGER record_admin ON auth.users")
    # CASCADE takes the superuser's event triggers along.
    op.execute("DROP FUNCTION audit.record_ddl() CASCADE")
    for function in list(FUNCTIONS)[:-1]:
        op.execute(f"DROP FUNCTION {function}")
    op.drop_column("security_events", "source", schema="audit")
