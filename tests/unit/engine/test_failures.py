"""What the engine says becomes one error of the right class, with one sentence for each thing that went wrong."""

from __future__ import annotations

import pytest

from engine.errors import (
    EngineError,
    OperationFailed,
    PassphraseWrong,
    PluginMissing,
    StackBusy,
    StackMissing,
    StateDamaged,
)
from engine.failures import explained, sentence

TRACEBACK = """\
Exception calling application: {said}
Traceback (most recent call last):
  File "/srv/.venv/lib/python3.11/site-packages/grpc/_server.py", line 610, in _call_behavior
    response_or_iterator = behavior(argument, context)
  File "/srv/.venv/lib/python3.11/site-packages/pulumi/dynamic/__main__.py", line 180, in Create
    result = provider.create(props)
  File "/srv/infra/local/embedded.py", line 36, in create
    postgres.create(
{kind}: {said}
"""


def raised(kind: str, said: str) -> str:
    """What a dynamic provider's failure looks like in a diagnostic."""
    return f"<{{%reset%}}>{TRACEBACK.format(kind=kind, said=said)}<{{%reset%}}>\n"


def explain(*failures: str, stderr: str = "") -> EngineError:
    return explained("local", "up", stderr, failures)


# --- one diagnostic ---


def test_a_providers_traceback_becomes_its_message_alone() -> None:
    said = "port 5432 on 127.0.0.1 is taken by postgres (pid 7); end that"
    assert sentence(raised("infra.local.errors.PortTaken", said)) == said


def test_a_message_of_several_lines_is_kept_whole() -> None:
    said = "PostgreSQL did not start; the end of the log:\n2026-01-02 FATAL:  no space left\n  on the device"
    assert sentence(raised("infra.local.errors.ServerFailed", said)) == said


def test_the_last_of_chained_exceptions_is_told() -> None:
    first = TRACEBACK.format(kind="OSError", said="no space left on device")
    second = TRACEBACK.format(kind="infra.local.errors.ServerFailed", said="the disk is full")
    text = f"{first}\nDuring handling of the above exception, another exception occurred:\n\n{second}"
    assert sentence(text) == "the disk is full"


@pytest.mark.parametrize("kind", ["ValueError", "psycopg.errors.UniqueViolation", "a.b_2.c.Kind3"])
def test_an_exception_of_any_module_is_known_by_its_class(kind: str) -> None:
    error = explain(raised(kind, "no"))
    assert isinstance(error, OperationFailed)
    assert (str(error), error.kinds) == ("no", {kind.rpartition(".")[2]})


@pytest.mark.parametrize("later", ["DETAIL:  Key (email)=(a) exists.", "HINT: look", "Reason: none"])
def test_a_line_of_the_message_is_never_taken_for_the_exception(later: str) -> None:
    said = f"revision 0002 failed: duplicate key\n{later}"
    error = explain(raised("migrations.errors.MigrationFailed", said))
    assert isinstance(error, OperationFailed)
    assert (str(error), error.kinds) == (said, {"MigrationFailed"})


def test_an_exception_without_a_message_is_told_by_its_class() -> None:
    text = TRACEBACK.format(kind="AssertionError", said="").replace("AssertionError: ", "AssertionError")
    assert "File" not in sentence(text)
    assert "AssertionError" in sentence(text)


@pytest.mark.parametrize("kind", ["Port taken", "Note", "FATAL"])
def test_text_without_a_traceback_is_kept_as_it_is(kind: str) -> None:
    assert sentence(f"{kind}: one thing\nError: another") == f"{kind}: one thing\nError: another"


def test_colours_markup_and_the_engines_prefix_go() -> None:
    assert sentence("<{%fg 1%}>error: <{%reset%}>\x1b[1;31mno\x1b[0m such thing<{%reset%}>\n\n") == "no such thing"
    assert sentence("the text says error: in its middle") == "the text says error: in its middle"


# --- the whole operation ---


def test_every_failed_resource_gets_its_sentence_once_and_noise_none() -> None:
    error = explain(
        raised("infra.local.errors.PortTaken", "port 5432 is taken"),
        raised("infra.local.errors.DataDirectoryError", "made by PostgreSQL 15"),
        raised("infra.local.errors.PortTaken", "port 5432 is taken"),
        "<{%reset%}>update failed<{%reset%}>\n",
        "Preview failed: resource x",
        stderr="error: update failed\n",
    )
    assert isinstance(error, OperationFailed)
    assert str(error) == "port 5432 is taken\nmade by PostgreSQL 15"
    assert error.kinds == {"PortTaken", "DataDirectoryError"}


def test_a_settings_error_keeps_a_line_for_each_fault() -> None:
    said = "Pulumi.local.yaml: database.port: 80 is not allowed\nPulumi.local.yaml: target: is missing"
    assert str(explain(said, "update failed")) == said


def test_without_a_diagnostic_standard_error_is_told() -> None:
    assert str(explain(stderr="error: the disk is full\n")) == "the disk is full"


@pytest.mark.parametrize("stderr", ["", "\n", "error: update failed\n"])
def test_even_silence_is_told(stderr: str) -> None:
    assert str(explain(stderr=stderr)).startswith("pulumi up failed: ")


LOCKED = (
    "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or delete the lock"
    " file with `pulumi cancel`.\n  file:///srv/.gaia/state/.pulumi/locks/organization/gaia-db/local/1b2c.json: "
    "created by ada@laptop (pid 4711) at 2026-01-02T03:04:05+01:00\n"
)
PASSPHRASES = (
    "error: getting stack configuration: get stack secrets manager: incorrect passphrase",
    "error: passphrase must be set with PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE",
    "error: failed to decrypt: incorrect passphrase, please set PULUMI_CONFIG_PASSPHRASE to the correct passphrase",
)
DAMAGED = (
    "error: failed to load checkpoint: unexpected end of JSON input",
    "error: could not deserialize deployment: unmarshalling deployment: invalid character 'x' looking for a value",
    "error: stack 'local' could not be loaded: EOF",
)
PLUGINS = (
    "error: no resource plugin 'pulumi-resource-docker' found in the workspace at version v5.2.0 or on your $PATH",
    "could not load plugin for docker provider 'urn:pulumi:dev::gaia-db::pulumi:providers:docker::d': plugin not found",
)


def test_a_locked_stack_names_the_holder() -> None:
    error = explain(stderr=LOCKED)
    assert isinstance(error, StackBusy)
    assert str(error) == (
        "stack local is held by ada@laptop (pid 4711) since 2026-01-02T03:04:05+01:00; wait for it to end"
    )


def test_a_locked_stack_whose_holder_is_not_named_is_busy_all_the_same() -> None:
    error = explain(LOCKED.splitlines()[0])
    assert isinstance(error, StackBusy)
    assert "another run" in str(error)


@pytest.mark.parametrize("stderr", PASSPHRASES)
def test_a_wrong_passphrase_says_where_it_comes_from(stderr: str) -> None:
    error = explain(stderr=stderr)
    assert isinstance(error, PassphraseWrong)
    assert ".gaia/passphrase" in str(error)
    assert "nothing was changed" in str(error)


def test_a_stack_that_was_never_made_names_the_command_that_makes_it() -> None:
    error = explain(stderr="error: no stack named 'local' found\n")
    assert isinstance(error, StackMissing)
    assert "run ./gaia up --stack local" in str(error)


@pytest.mark.parametrize("stderr", DAMAGED)
def test_a_damaged_state_names_the_way_back(stderr: str) -> None:
    error = explain(stderr=stderr)
    assert isinstance(error, StateDamaged)
    assert "--restore-state" in str(error)


def test_a_state_that_fails_its_integrity_check_is_damaged() -> None:
    said = "error: snapshot integrity failure; refusing to use it: resource urn:pulumi:local::gaia-db::x::y is unknown"
    error = explain(stderr=said)
    assert isinstance(error, StateDamaged)
    assert "./gaia pulumi state repair --stack local" in str(error) and "--restore-state" not in str(error)


@pytest.mark.parametrize(
    "said",
    [
        "stack configuration could not be loaded from either Pulumi.yaml or the backend: yaml: line 3",
        "policy analyzer could not be loaded from path 'policies'",
        "the library libpq could not be loaded",
        "docker said: cannot unmarshal object into Go value",
    ],
)
def test_a_failure_that_is_none_of_the_state_never_sends_anyone_to_restore_it(said: str) -> None:
    assert not isinstance(explain(said), StateDamaged)


@pytest.mark.parametrize("said", PLUGINS)
def test_a_missing_plugin_is_named(said: str) -> None:
    error = explain(said)
    assert isinstance(error, PluginMissing)
    assert "docker" in str(error)


def test_a_plugin_that_could_not_be_downloaded_is_missing() -> None:
    said = (
        "Could not automatically download and install resource plugin 'pulumi-resource-docker' at version v5.2.0, "
        "install the plugin using `pulumi plugin install resource docker v5.2.0`: 403 HTTP error fetching plugin"
    )
    assert isinstance(explain(said), PluginMissing)


@pytest.mark.parametrize("text", [LOCKED, *PASSPHRASES, "error: no stack named 'x' found", *DAMAGED, *PLUGINS])
def test_nothing_of_the_engines_markup_reaches_a_person(text: str) -> None:
    error = str(explain(f"<{{%fg 1%}}>{text}<{{%reset%}}>\x1b[0m"))
    assert "<{%" not in error
    assert "\x1b" not in error
    assert "Traceback" not in error
