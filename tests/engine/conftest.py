"""What the tests with the real engine share."""

from tests.clone import clone, port, session_clone

__all__ = ["clone", "port", "session_clone"]
