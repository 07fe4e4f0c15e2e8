"""Errors of the local targets.

LocalError
├── BinariesMissing      the environment lacks the PostgreSQL 16 binaries
├── DataDirectoryError   the data directory is of another version, or damaged
├── PortTaken            another process listens where the server should
├── ServerFailed         the server or one of its tools said no
├── DockerMissing        no Docker engine answers
├── ContainerFailed      the container is gone, exited, or Docker said no
└── NotReachable         no answer within the time allowed
"""


class LocalError(Exception):
    """Base of all errors of the local targets. The message is one sentence that names the way out."""


class BinariesMissing(LocalError):
    """The PostgreSQL 16 binaries aren't in the environment: run ``./gaia setup``."""


class DataDirectoryError(LocalError):
    """The data directory can't be used by PostgreSQL 16; it is left as it is."""


class PortTaken(LocalError):
    """Another process listens on the port: end it, or choose another with ``--set database.port=…``."""


class ServerFailed(LocalError):
    """initdb, pg_ctl or the server ended with an error; the message carries the end of its log."""


class DockerMissing(LocalError):
    """No Docker engine answers: start it, or use the embedded server."""


class ContainerFailed(LocalError):
    """The container doesn't run; the message carries the end of its log."""


class NotReachable(LocalError):
    """The server gave no answer within the time allowed."""
