"""What pg_dump says when it fails becomes a sentence with the way out."""

import pytest

from backup import archive
from backup.errors import DumpFailed, TableLocked


@pytest.mark.parametrize(
    ("said", "kind", "sentence"),
    [
        (
            'pg_dump: error: Dumping the contents of table "t" failed: PQgetCopyData() failed.',
            DumpFailed,
            "server went",
        ),
        ("pg_dump: error: query failed: server closed the connection unexpectedly", DumpFailed, "server went away"),
        ("pg_dump: error: could not write to file: No space left on device", DumpFailed, "the disk is full"),
        ("pg_dump: error: permission denied for table t", DumpFailed, "may not read everything"),
        ("pg_dump: error: canceling statement due to statement timeout", TableLocked, ""),
        ("pg_dump: error: something else", DumpFailed, "pg_dump failed, and no backup was made: something else"),
        ("", DumpFailed, "it ended with 1"),
    ],
)
def test_each_reason_has_its_sentence(said: str, kind: type[Exception], sentence: str) -> None:
    error = archive.failure(said, 1)
    assert type(error) is kind
    assert sentence in str(error)
