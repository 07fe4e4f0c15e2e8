"""What the tests on a real PostgreSQL 16 share."""

from tests.postgres import database, empty_database, server, shared_database, template

__all__ = ["database", "empty_database", "server", "shared_database", "template"]
