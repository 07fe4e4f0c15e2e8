"""Real PostgreSQL 16 servers that behave as Cloud SQL's do, without HTTP."""
