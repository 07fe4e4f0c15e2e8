"""What Cloud SQL answers when it refuses, without HTTP.

SqlError
 ├─ Refused          refused before anything began: HTTP code, reason and words
 └─ OperationFailed  the operation began and failed: its code and words
"""


class SqlError(Exception):
    """See the message: it has Google's words where they were seen, else ours."""


class Refused(SqlError):
    """Change the request as the message says."""

    def __init__(self, message: str, *, code: int = 400, reason: str = "invalid") -> None:
        super().__init__(message)
        self.message, self.code, self.reason = message, code, reason


class OperationFailed(SqlError):
    """The instance is as it was; change the request as the message says."""

    def __init__(self, message: str, *, code: str = "INTERNAL_ERROR") -> None:
        super().__init__(message)
        self.message, self.code = message, code


def invalid(what: str) -> Refused:
    """400 in the words that Cloud SQL begins most of its refusals with."""
    return Refused(f"Invalid request: {what}")
