"""Full-text search within a campaign, by a function that checks membership first.

Under row-level security ``@@`` isn't leakproof, so the planner keeps it off the index: the function is the owner's.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

# The campaign's lexeme is in the index too. A prefix search appends :* to the last word of the parsed query. One plan
# is kept: to plan over all months costs more than the search. IS TRUE keeps the campaign's other index out of that
# plan; the comparison is a second guard, and needs none.
SEARCH_MESSAGES = """
CREATE FUNCTION game.search_messages(
    campaign uuid, query text, language text DEFAULT 'english', prefix boolean DEFAULT false,
    page_size integer DEFAULT 20, after_rank real DEFAULT NULL, after_id bigint DEFAULT NULL)
RETURNS TABLE (
    message_id bigint, created_at timestamptz, user_id uuid, role text, content_snippet text, rank real)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    configuration regconfig := ('pg_catalog.' || quote_ident(language))::regconfig;
    words tsquery := websearch_to_tsquery(configuration, query);
    here tsquery := quote_literal('@' || replace(campaign::text, '-', ''))::tsquery;
BEGIN
    IF NOT game.may(campaign, 'read') AND NOT auth.is_admin() THEN
        RETURN;
    END IF;
    IF prefix AND right(words::text, 1) = '''' THEN
        words := (words::text || ':*')::tsquery;
    END IF;
    IF numnode(words) = 0 THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT found.message_id, found.created_at, found.user_id, found.role,
           ts_headline(configuration, left(found.content, 20000), words,
                       'StartSel=**, StopSel=**, MaxFragments=2, MaxWords=20, MinWords=5'),
           found.rank
    FROM (
        SELECT h.message_id, h.created_at, h.user_id, h.role, h.content, ts_rank(h.search, words) AS rank
        FROM game.chat_history h
        WHERE h.search @@ (here && words) AND (h.campaign_id = campaign) IS TRUE
          AND (after_id IS NULL OR (ts_rank(h.search, words), h.message_id) < (after_rank, after_id))
        ORDER BY rank DESC, h.message_id DESC
        LIMIT least(greatest(page_size, 1), 100)
    ) found
    ORDER BY found.rank DESC, found.message_id DESC;
END $$
"""
FUNCTION = "game.search_messages(uuid, text, text, boolean, integer, real, bigint)"


def upgrade() -> None:
    op.execute(SEARCH_MESSAGES)
    op.execute(f"COMMENT ON FUNCTION {FUNCTION} IS 'Messages of a campaign that fit a query, best first, page by page'")


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {FUNCTION}")
