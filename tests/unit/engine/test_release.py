"""The official release is used when it is what its checksums say, and given up in bounded time when not."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import time
from pathlib import Path

import pytest

from engine import pin, release
from engine.errors import ReleaseUnavailable
from engine.wheels import DEFAULT_LIMITS, Limits, Machine
from tests.unit.engine.web import Answer, serving

LINUX = Machine(libc="glibc", version=(2, 36), architecture="x86_64")
ARCHIVE = f"/pulumi-v{pin.VERSION}-linux-x64.tar.gz"
CHECKSUMS = f"/pulumi-{pin.VERSION}-checksums.txt"
QUICK = Limits(connect_s=1, stall_s=0.2, total_s=5)


def an_archive(member: str = "pulumi/pulumi") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        content = b"#!/bin/sh\necho v" + pin.VERSION.encode()
        entry = tarfile.TarInfo(member)
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def checksums(archive: bytes) -> Answer:
    other = f"{'0' * 64}  pulumi-v{pin.VERSION}-linux-arm64.tar.gz\n"
    return Answer(body=f"{other}{hashlib.sha256(archive).hexdigest()}  {ARCHIVE[1:]}\n".encode())


def install(folder: Path, *bases: str, limits: Limits = DEFAULT_LIMITS) -> Path:
    target = folder / "release"
    release.install(target, machine=LINUX, say=lambda text: None, bases=bases, limits=limits)
    return target


def test_a_good_release_is_unpacked(tmp_path: Path) -> None:
    archive = an_archive()
    with serving({ARCHIVE: Answer(body=archive), CHECKSUMS: checksums(archive)}) as base:
        target = install(tmp_path, base)
    assert (target / "pulumi").stat().st_mode & 0o111
    assert list(tmp_path.iterdir()) == [target]


def test_the_second_place_is_asked_when_the_first_has_none(tmp_path: Path) -> None:
    archive = an_archive()
    with serving({}) as empty, serving({ARCHIVE: Answer(body=archive), CHECKSUMS: checksums(archive)}) as base:
        assert (install(tmp_path, empty, base) / "pulumi").is_file()


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({}, "404"),
        ({CHECKSUMS: Answer(body=b"what is this")}, "doesn't name"),
        ({CHECKSUMS: checksums(an_archive()), ARCHIVE: Answer(body=b"other")}, "SHA-256"),
        ({CHECKSUMS: checksums(an_archive()), ARCHIVE: Answer(body=an_archive(), sent=10)}, "cut short"),
        (
            {
                CHECKSUMS: checksums(an_archive()),
                ARCHIVE: Answer(body=an_archive(), sent=10, stall=threading.Event()),
            },
            "nothing came",
        ),
        ({CHECKSUMS: checksums(b"no archive"), ARCHIVE: Answer(body=b"no archive")}, "unpacked"),
        (
            {
                CHECKSUMS: checksums(an_archive("pulumi/other")),
                ARCHIVE: Answer(body=an_archive("pulumi/other")),
            },
            "no pulumi",
        ),
        (
            {
                CHECKSUMS: checksums(an_archive("../outside")),
                ARCHIVE: Answer(body=an_archive("../outside")),
            },
            "unpacked",
        ),
    ],
    ids=["missing", "checksums", "other", "truncated", "stalled", "not-tar", "no-cli", "escaping"],
)
def test_a_bad_release_is_never_there(tmp_path: Path, answers: dict[str, Answer], reason: str) -> None:
    with serving(answers) as base, pytest.raises(ReleaseUnavailable, match=reason):
        install(tmp_path, base, limits=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_refuses_costs_no_time(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ReleaseUnavailable, match="refused"):
        install(tmp_path, "http://127.0.0.1:1")
    assert time.monotonic() - started < 1


def test_a_machine_without_a_release_is_named() -> None:
    with pytest.raises(ReleaseUnavailable, match="linux on riscv64"):
        release.archive_name(Machine(libc="glibc", version=(2, 36), architecture="riscv64"))
