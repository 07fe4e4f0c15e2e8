"""The migration lint: what is dangerous in the SQL of the revisions, and what is wrong in a migrated database."""
