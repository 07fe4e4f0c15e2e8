"""What the tests on a real PostgreSQL 16 share."""

from tests.postgres import database, empty_database, server, template

__all__ = ["database", "empty_database", "server", "template"]
