"""What can go wrong with backups.

BackupError
 ├─ BackupDamaged   a backup isn't what its manifest says
 ├─ BackupMissing   there is no such backup
 ├─ BackupBusy      another command works in the folder of the backups
 ├─ BackupRefused   it would lose data, or can't be made of this
 ├─ DumpFailed      no backup was made: pg_dump, the server or the disk failed
 │   └─ TableLocked    somebody changes a table, or waits to
 └─ RestoreFailed   the database is as it was: loading, comparing or swapping failed
"""


class BackupError(Exception):
    """Base of all errors of this package; its text is one sentence or two and names the way out."""


class BackupDamaged(BackupError):
    """Take another backup; ``./gaia backups verify`` says which are whole."""


class BackupMissing(BackupError):
    """Name one of those that ``./gaia backups list`` shows."""


class BackupBusy(BackupError):
    """Wait until the command that the message names is done."""


class BackupRefused(BackupError):
    """Do what the message says first."""


class DumpFailed(BackupError):
    """Mend what the message names, and run it again; the backups that were there are untouched."""


class TableLocked(DumpFailed):
    """Wait for the migration, or whatever changes the table, to end."""


class RestoreFailed(BackupError):
    """Mend what the message names; the database that served before serves on, whole."""
