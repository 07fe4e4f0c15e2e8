"""What Google answers when it refuses, in the two shapes that its services have."""

from __future__ import annotations

from typing import Any

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""The usual canonical code of an HTTP status: https://cloud.google.com/apis/design/errors#handling_errors"""
_REASON = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    429: "rateLimitExceeded",
    500: "internalError",
    501: "notImplemented",
    503: "backendError",
}
_RPC = {
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
OLD_SHAPE = frozenset({"compute", "dns", "sqladmin", "storage"})
"""The services whose errors have ``errors: [{domain, reason, message}]``; others have ``status`` and ``details``."""


class GoogleError(Exception):
    """A refusal: HTTP code, Google's words, its canonical status and, in the old shape, its reason."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: str | None = None,
        reason: str | None = None,
        details: tuple[dict[str, Any], ...] = (),
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, details
        self.status = status or _STATUS.get(code, "UNKNOWN")
        self.reason = reason or _REASON.get(code, "unknown")

    def document(self, service: str) -> dict[str, Any]:
        """The answer's body, as this service writes it."""
        if service in OLD_SHAPE:
            error = {"message": self.message, "domain": "global", "reason": self.reason}
            return {"error": {"code": self.code, "message": self.message, "errors": [error]}}
        aip: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        return {"error": aip | ({"details": list(self.details)} if self.details else {})}

    def rpc(self) -> dict[str, Any]:
        """As the ``error`` of a long-running operation (``google.rpc.Status``)."""
        return {"code": _RPC.get(self.status, 2), "message": self.message}


def invalid(message: str, *, field: str | None = None) -> GoogleError:
    """400, with the field that is at fault as Google names it."""
    violation = {"field": field, "description": message} if field is not None else None
    details = (
        ({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]},) if violation else ()
    )
    return GoogleError(400, message, details=details)


def precondition(message: str) -> GoogleError:
    """400: right in itself, but not while things stand as they do."""
    return GoogleError(400, message, status="FAILED_PRECONDITION", reason="failedPrecondition")


def not_found(message: str) -> GoogleError:
    return GoogleError(404, message)


def already_exists(message: str) -> GoogleError:
    return GoogleError(409, message)


def aborted(message: str) -> GoogleError:
    """409: somebody else changed it since it was read."""
    return GoogleError(409, message, status="ABORTED")


def denied(permission: str, resource: str) -> GoogleError:
    """403: https://cloud.google.com/iam/docs/permission-error-messages"""
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "IAM_PERMISSION_DENIED",
        "domain": resource.split("/", 1)[0] if "." in resource.split("/", 1)[0] else "iam.googleapis.com",
        "metadata": {"permission": permission, "resource": resource},
    }
    return GoogleError(
        403, f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).", details=(info,)
    )
