"""What can go wrong while roles, migrations and grants are brought to a database.

MigrationError
 ├─ NoDatabaseUrl       no URL was given, nor set in the environment
 ├─ BadSetting          a setting of the environment or an argument can't be read
 ├─ ConnectionFailed    the server can't be reached, or refuses the login
 ├─ RevisionError       the files and the database don't fit together
 │   ├─ UnknownRevision    a revision this checkout doesn't have
 │   └─ BrokenHistory      the files are no single line of revisions
 ├─ RoleError           a role is missing, or the one in use may not do this
 ├─ Busy                another runner holds the lock
 ├─ MaintenanceBlocked  no lock for a partition, however often it was tried
 ├─ LockLost            the session that holds the lock was ended
 ├─ ProofFailed         the proof could not be made, or doesn't fit this checkout
 ├─ (migrations.backup_first, migrations.sqladmin have theirs: BackupFailed, ApiError, NoAnswer)
 └─ MigrationFailed     a revision failed and was rolled back
     └─ LockTimeout        it could not get a lock, however often it was tried
"""


class MigrationError(Exception):
    """Base of all errors of this package; its text is one sentence or two and names the way out."""


class NoDatabaseUrl(MigrationError):
    """Set GAIA_MIGRATIONS_URL or DATABASE_URL."""


class BadSetting(MigrationError):
    """Correct the setting that the message names."""


class ConnectionFailed(MigrationError):
    """Start the server, or correct the URL or the password."""


class RevisionError(MigrationError):
    """The migration files and the database don't fit together."""


class UnknownRevision(RevisionError):
    """Update the checkout, or name a revision that it has."""


class BrokenHistory(RevisionError):
    """Make the files one line again: give the later one the next number and the right down_revision."""


class RoleError(MigrationError):
    """Connect as gaia_migrator or as the superuser, or create the role."""


class Busy(MigrationError):
    """Wait until the other runner is done, or end the session that the message names."""


class LockLost(MigrationError):
    """Run it again; the database is at the revision that the message names."""


class ProofFailed(MigrationError):
    """Make the proof again with ./gaia migrate prove, or correct what the message names."""


class MaintenanceBlocked(MigrationError):
    """End the transaction that holds the lock; what was done before stays, and the next run goes on."""


class MigrationFailed(MigrationError):
    """Correct the revision and run it again; the database is at the revision before it."""

    def __init__(self, revision: str, statement: str | None, reason: str, at: str | None, advice: str = "") -> None:
        self.revision = revision
        """The revision that failed."""
        self.statement = statement
        """The SQL that failed, or None if Python did."""
        self.reason = reason
        """What PostgreSQL, or Python, said."""
        self.at = at
        """The revision the database is at; None for an empty one."""
        where = f" at: {one_line(statement)}" if statement else ""
        place = at or "the empty schema (base)"
        super().__init__(f"revision {revision} failed: {reason}{where} (the database stays at {place}){advice}")


class LockTimeout(MigrationFailed):
    """End the transaction that holds the lock, or run at a quieter time."""


def one_line(statement: str, width: int = 300) -> str:
    """``statement`` on one line, cut to ``width`` characters."""
    flat = " ".join(statement.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
