"""Programs, dynamic providers and policy packs run under the real engine, with nothing but what ``acquire`` gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from engine.acquire import Engine

pytestmark = pytest.mark.engine

TIMEOUT_S = 120


@dataclass(frozen=True)
class Project:
    """A project of its own, with its own state, in a folder."""

    folder: Path
    environ: dict[str, str]

    def program(self, text: str, name: str = "__main__.py") -> None:
        (self.folder / name).write_text(textwrap.dedent(text))

    def pulumi(self, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=folder or self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        done = self.pulumi("up", "--yes", "--skip-preview")
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def outputs(self) -> dict[str, object]:
        return json.loads(self.pulumi("stack", "output", "--json").stdout)


@pytest.fixture
def project(engine: Engine, tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    state = tmp_path / "state"
    folder.mkdir()
    state.mkdir()
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "Pulumi.yaml").write_text("name: probe\nruntime:\n  name: python\n  options:\n    virtualenv: .venv\n")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "GAIA_"))}
    environ = inherited | {
        "PATH": f"{engine.pulumi.parent}:{os.environ['PATH']}",
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_BACKEND_URL": f"file://{state}",
        "PULUMI_CONFIG_PASSPHRASE": "only for this test",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_STACK": "dev",
    }
    made = Project(folder, environ)
    assert made.pulumi("stack", "init", "dev").returncode == 0
    return made


DYNAMIC = """
    import os
    import time
    from pathlib import Path

    from pulumi.dynamic import CreateResult, Resource, ResourceProvider


    class Provider(ResourceProvider):
        def create(self, props):
            Path(props["path"]).write_text(str(os.getpid()))
            time.sleep(props["seconds"])
            return CreateResult("one", props)

        def delete(self, id, props):
            Path(props["path"]).unlink()


    class File(Resource):
        def __init__(self, name, path, seconds=0):
            super().__init__(Provider(), name, {"path": path, "seconds": seconds})
    """

POLICY_PACK = """
    import sys
    from concurrent.futures import ThreadPoolExecutor

    import grpc
    from google.protobuf import empty_pb2
    from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc, plugin_pb2


    class Analyzer(analyzer_pb2_grpc.AnalyzerServicer):
        def GetAnalyzerInfo(self, request, context):
            policy = analyzer_pb2.PolicyInfo(name="no-files", enforcementLevel=analyzer_pb2.MANDATORY)
            return analyzer_pb2.AnalyzerInfo(name="tiny", version="0.0.1", policies=[policy])

        def GetPluginInfo(self, request, context):
            return plugin_pb2.PluginInfo(version="0.0.1")

        def Configure(self, request, context):
            return empty_pb2.Empty()

        def Analyze(self, request, context):
            if not request.type.startswith("pulumi-python:dynamic"):
                return analyzer_pb2.AnalyzeResponse()
            found = analyzer_pb2.AnalyzeDiagnostic(
                policyName="no-files", policyPackName="tiny", policyPackVersion="0.0.1",
                message="files are not allowed here", enforcementLevel=analyzer_pb2.MANDATORY, urn=request.urn,
            )
            return analyzer_pb2.AnalyzeResponse(diagnostics=[found])

        def AnalyzeStack(self, request, context):
            return analyzer_pb2.AnalyzeResponse()

        def Remediate(self, request, context):
            return analyzer_pb2.RemediateResponse()


    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    analyzer_pb2_grpc.add_AnalyzerServicer_to_server(Analyzer(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()
    """


def test_a_program_goes_up_and_is_destroyed(project: Project) -> None:
    project.program("""
        import os
        import pulumi

        pulumi.export("project", pulumi.get_project())
        pulumi.export("stack", pulumi.get_stack())
        pulumi.export("preview", pulumi.runtime.is_dry_run())
        pulumi.export("folder", os.getcwd())
        """)
    preview = project.pulumi("preview")
    assert preview.returncode == 0, preview.stdout
    project.up()
    assert project.outputs() == {"project": "probe", "stack": "dev", "preview": False, "folder": str(project.folder)}
    assert "1 unchanged" in project.up().stdout
    assert project.pulumi("destroy", "--yes").returncode == 0
    assert project.outputs() == {}


def test_configuration_and_its_secrets_reach_the_program(project: Project) -> None:
    project.program("""
        import pulumi

        config = pulumi.Config()
        pulumi.export("plain", config.require("plain"))
        pulumi.export("secret", config.require_secret("secret"))
        pulumi.export("known", config.get("secret"))
        """)
    project.pulumi("config", "set", "plain", "one")
    project.pulumi("config", "set", "--secret", "secret", "two")
    project.up()
    assert project.outputs()["plain"] == "one"
    assert project.outputs()["secret"] == "[secret]"


def test_a_program_may_use_the_automation_api(project: Project) -> None:
    project.program("""
        import pulumi
        from pulumi.automation import LocalWorkspace
        from pulumi.automation.errors import CommandError

        pulumi.export("names", [LocalWorkspace.__name__, CommandError.__name__, pulumi.automation.Stack.__name__])
        """)
    project.up()
    assert project.outputs() == {"names": ["LocalWorkspace", "CommandError", "Stack"]}


def test_commands_work_from_a_subfolder(project: Project) -> None:
    project.program("import here, pulumi\npulumi.export('there', here.THERE)\n")
    project.program("THERE = 'yes'\n", "here.py")
    below = project.folder / "some" / "folder"
    below.mkdir(parents=True)
    done = project.pulumi("up", "--yes", "--skip-preview", folder=below)
    assert done.returncode == 0, done.stdout
    assert project.outputs() == {"there": "yes"}


def test_a_dynamic_resource_is_made_and_deleted_by_its_module(project: Project) -> None:
    made = project.folder / "made"
    project.program(DYNAMIC, "files.py")
    project.program(f"from files import File\nFile('one', {str(made)!r})\n")
    project.up()
    assert made.exists()
    assert project.pulumi("destroy", "--yes").returncode == 0
    assert not made.exists()


def test_an_error_in_the_program_is_one_diagnostic_from_its_own_first_line(project: Project) -> None:
    project.program("""
        def broken():
            raise ValueError("the reason")

        broken()
        """)
    done = project.pulumi("preview")
    assert done.returncode != 0
    assert done.stdout.count("ValueError: the reason") == 1
    assert "1 error" in done.stdout
    assert "__main__.py" in done.stdout
    assert "runpy" not in done.stdout
    assert "asyncio" not in done.stdout


def test_a_run_error_shows_its_sentence_alone(project: Project) -> None:
    project.program("import pulumi\nraise pulumi.RunError('only this sentence')\n")
    done = project.pulumi("preview")
    assert done.returncode != 0
    assert "error: only this sentence" in done.stdout
    assert "Traceback" not in done.stdout


def test_an_error_in_an_apply_fails_the_program(project: Project) -> None:
    project.program("import pulumi\npulumi.Output.from_input(1).apply(lambda x: 1 / 0)\n")
    done = project.pulumi("preview")
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stdout


def test_what_a_program_prints_is_shown_and_its_exit_code_told(project: Project) -> None:
    project.program("import sys\nprint('a line')\nsys.exit(7)\n")
    done = project.pulumi("preview")
    assert done.returncode != 0
    assert "a line" in done.stdout
    assert "exited with non-zero exit code: 7" in done.stdout


def test_a_missing_virtualenv_is_named(project: Project) -> None:
    project.program("import pulumi\n")
    settings = project.folder / "Pulumi.yaml"
    settings.write_text(settings.read_text().replace("virtualenv: .venv", "virtualenv: other"))
    done = project.pulumi("preview")
    assert done.returncode != 0
    assert "other" in done.stdout + done.stderr


def test_a_policy_pack_refuses_what_it_forbids(project: Project, tmp_path: Path) -> None:
    pack = Project(tmp_path / "pack", {})
    pack.folder.mkdir()
    pack.program("runtime: python\nversion: 0.0.1\n", "PulumiPolicy.yaml")
    pack.program(POLICY_PACK)
    project.program(DYNAMIC, "files.py")
    project.program("from files import File\nFile('one', '/nowhere/made')\n")
    done = project.pulumi("preview", "--policy-pack", str(pack.folder))
    assert done.returncode != 0
    assert "files are not allowed here" in done.stdout
    project.program("import pulumi\n")
    assert project.pulumi("preview", "--policy-pack", str(pack.folder)).returncode == 0


def test_the_program_runs_in_the_process_that_the_engines_first_host_started(project: Project) -> None:
    """What the process imports ahead is imported once, though two hosts come one after the other."""
    (project.folder / "early.py").write_text("import os\nprint(os.getpid(), file=open('imported', 'a'))\n")
    project.program("import os, pulumi\npulumi.export('process', os.getpid())\n")
    project.environ.update({"GAIA_IMPORT_AHEAD": "early", "PYTHONPATH": str(project.folder)})
    project.up()
    imported = (project.folder / "imported").read_text().split()
    assert [project.outputs()["process"]] == [int(number) for number in imported]


def test_a_program_that_is_killed_fails_the_run_in_words(project: Project) -> None:
    project.program("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    done = project.pulumi("preview")
    assert done.returncode != 0
    assert "Program ended without an exit code" in done.stdout


def test_what_a_program_left_for_its_end_is_done(project: Project) -> None:
    project.program("import atexit, pathlib, time\natexit.register(lambda: pathlib.Path('ended').write_text('yes'))\n")
    assert project.pulumi("preview").returncode == 0
    assert (project.folder / "ended").read_text() == "yes"


def test_nothing_outlives_an_engine_that_was_killed(project: Project) -> None:
    project.program(DYNAMIC, "files.py")
    made = project.folder / "made"
    project.program(f"""
        import os
        import pathlib
        from files import File

        pathlib.Path("program").write_text(str(os.getpid()))
        File("slow", {str(made)!r}, seconds=60)
        """)
    running = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive"],
        cwd=project.folder,
        env=project.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        provider = int(_content(made))
        program = int(_content(project.folder / "program"))
        (host,) = [p.pid for p in psutil.Process(running.pid).children() if "engine.language_host" in p.cmdline()]
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    for name, pid in (("program", program), ("host", host), ("provider", provider)):
        assert _ends(pid), f"the {name} still runs"


def _content(path: Path) -> str:
    for _ in range(600):
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{path} didn't come")


def _ends(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{pid}/stat")
        if status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False
