"""What can go wrong between the backend and its database.

DatabaseError
 ├─ SettingsError            the environment doesn't say, or says wrongly, which database and how
 ├─ Unreachable              nobody answers where the settings point, or the server isn't ready
 │   ├─ TlsFailed               it answers, but its certificate isn't believed, or it has no TLS
 │   └─ TooManyConnections      it answers, but has no connection left
 ├─ LoginRefused             the server refuses this login
 │   ├─ WrongPassword
 │   └─ NoSuchDatabase
 ├─ PoolExhausted            all connections of this process are in use
 ├─ StatementTimeout         a statement ran for longer than it may
 ├─ NotAllowed               a grant or row-level security refuses the statement
 │   ├─ CopyRefused             COPY FROM as a login that is subject to row-level security
 │   └─ ReadOnlySession         a write in a session that was opened with read_only=True
 ├─ TransactionAborted       a commit after a failed statement: nothing was written
 ├─ IdentityExpired          a user's transaction lasted longer than its identity: nothing was written
 ├─ OutcomeUnknown           the connection was lost during COMMIT: written or not, nobody knows
 └─ TryAgain                 the transaction was undone and may be run again as a whole
     ├─ SerializationFailure
     ├─ Deadlock
     ├─ SchemaChanged            a migration changed what a prepared statement returns
     ├─ NotPrimary               the server is a standby, as after a failover: nothing was written
     └─ LostConnection

All else stays what SQLAlchemy raises: a unique key that is taken is still `sqlalchemy.exc.IntegrityError`.
The driver's error is the `__cause__`. No message holds a password, a key or a statement's parameters.
"""


class DatabaseError(Exception):
    """Base of all errors of this package; its text is one sentence or two and names the way out."""


class SettingsError(DatabaseError):
    """Correct the variables that the message names, each on a line of its own."""


class Unreachable(DatabaseError):
    """Start the server, or correct host and port."""


class TlsFailed(Unreachable):
    """Give the server's CA as sslrootcert, or choose another sslmode."""


class TooManyConnections(Unreachable):
    """Make the pools smaller, or max_connections larger."""


class LoginRefused(DatabaseError):
    """Correct the login in DATABASE_URL."""


class WrongPassword(LoginRefused):
    """Correct the password in DATABASE_URL; percent-encode what is special in it."""


class NoSuchDatabase(LoginRefused):
    """Correct the database in DATABASE_URL, or create it."""


class PoolExhausted(DatabaseError):
    """Close sessions sooner, or raise DATABASE_POOL_SIZE or DATABASE_POOL_OVERFLOW."""


class StatementTimeout(DatabaseError):
    """Make the statement faster, or raise DATABASE_STATEMENT_TIMEOUT_S."""


class NotAllowed(DatabaseError):
    """Bind the session to a user who may (get_async_session(user_id=…)), or don't do it."""


class CopyRefused(NotAllowed):
    """Use messages.insert, or a login that owns the table."""


class ReadOnlySession(NotAllowed):
    """Open the session without read_only=True."""


class TransactionAborted(DatabaseError):
    """Let the first error end the block, or put what may fail into session.begin_nested()."""


class IdentityExpired(DatabaseError):
    """Make the transaction shorter, or raise GAIA_IDENTITY_LIFETIME_S."""


class OutcomeUnknown(DatabaseError):
    """Look whether the change is there before making it again."""


class TryAgain(DatabaseError):
    """Run the whole transaction again; async_transaction and sync_transaction do."""


class SerializationFailure(TryAgain):
    """Another transaction changed what this one had read."""


class Deadlock(TryAgain):
    """Two transactions waited for each other; change rows in the same order everywhere."""


class SchemaChanged(TryAgain):
    """A migration changed a table under a statement that this connection had prepared."""


class NotPrimary(TryAgain):
    """Name all servers in DATABASE_URL, so that the next connection finds the new primary."""


class LostConnection(TryAgain):
    """The server ended, or the network did, before COMMIT was sent."""
