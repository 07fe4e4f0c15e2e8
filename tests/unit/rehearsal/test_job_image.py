"""What a container sees is what the Dockerfile copies and sets."""

from __future__ import annotations

from pathlib import Path

from rehearsal.jobs import image, tasks


def test_the_migrations_image_is_that_of_its_dockerfile() -> None:
    made = image.read()
    assert made.entrypoint == ["python", "-m", "migrations"] and made.command == ["upgrade", "--json"]
    assert made.environment["PYTHONPATH"] == "/opt/gaia:/opt/packages" and made.environment["PYTHONSAFEPATH"] == "1"
    assert (made.folder, made.ids) == ("/opt/gaia", (65532, 65532))
    assert made.files["/opt/gaia/migrations"] == image.CHECKOUT / "migrations"
    assert "/opt/gaia/db/identity.py" in made.files and "/opt/gaia/db/manager.py" not in made.files


def test_it_has_the_packages_that_its_requirements_name_and_no_others() -> None:
    packages = {Path(path).name for path in image.read().files if path.startswith("/opt/packages/")}
    assert {"alembic", "psycopg", "psycopg_binary", "sqlalchemy", "mako", "markupsafe"} <= packages
    assert not packages & {"pulumi", "psutil", "pytest", "starlette"}


def test_a_package_that_the_requirements_lack_is_missing(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("mako==1.4.3\n")
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(
        "ARG BASE=x\nFROM ${BASE} AS packages\n# COPY nothing /here\n"
        "COPY requirements.txt /build/requirements.txt\n"
        'RUN ["pip", "install", "--target=/build/packages", \\\n     "--requirement=/build/requirements.txt"]\n'
        "FROM ${BASE}\nCOPY --from=packages /build/packages /opt/packages\n"
        'ENV A=1 \\\n    B="two words"\nUSER 7\nENTRYPOINT ["run"]\n'
    )
    made = image.read(tmp_path, dockerfile)
    assert all(Path(path).name.lower().startswith("mako") for path in made.files)
    assert (made.environment, made.ids, made.entrypoint) == ({"A": "1", "B": "two words"}, (7, 7), ["run"])


def test_the_unpacked_files_can_be_read_by_anybody(tmp_path: Path) -> None:
    made = image.unpack(image.read(), tmp_path / "image")
    copied = made.files["/opt/gaia/migrations"]
    assert copied.is_relative_to(tmp_path) and (copied / "__main__.py").stat().st_mode & 0o004
    assert made.files["/opt/packages/alembic"] == image.read().files["/opt/packages/alembic"]


def test_an_image_is_known_by_the_last_part_of_its_name() -> None:
    for reference in ("r/p/gaia-db/migrations@sha256:00", "migrations:1", "host:5000/migrations"):
        assert tasks.short(reference) == "migrations"
