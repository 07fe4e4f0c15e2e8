"""What the tests on a real PostgreSQL 16 share."""

from tests.postgres import database, empty_database, server, shared_database, template
from tests.restoring import backed_up, copy
from tests.revision_tree import tree

__all__ = ["backed_up", "copy", "database", "empty_database", "server", "shared_database", "template", "tree"]
