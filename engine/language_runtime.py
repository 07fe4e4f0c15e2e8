"""``pulumirpc.LanguageRuntime`` for Python programs: what the engine asks a language host."""

from __future__ import annotations

import os
import platform
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from engine.program_process import ALREADY_EXPLAINED, ProgramProcess

_MODULES = {"analyzer": "pulumi.policy"}
"""What runs a plugin of a kind that is a folder of Python; other kinds run the folder itself."""


class LanguageRuntime(language_pb2_grpc.LanguageRuntimeServicer):
    """Runs programs and policy packs with the interpreter this process runs under, or the project's ``virtualenv``."""

    def __init__(self, engine_address: str, waiting: ProgramProcess | None = None) -> None:
        self._engine_address = engine_address
        self._waiting = waiting
        self._root: str | None = None

    def Handshake(
        self, request: language_pb2.LanguageHandshakeRequest, context: grpc.ServicerContext
    ) -> language_pb2.LanguageHandshakeResponse:
        """Learn the engine's address and the project's folder."""
        self._engine_address = request.engine_address or self._engine_address
        self._root = request.root_directory or None
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        """Answer without a version: the host is part of this checkout and has none of its own."""
        return plugin_pb2.PluginInfo()

    def GetRequiredPlugins(
        self, request: language_pb2.GetRequiredPluginsRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetRequiredPluginsResponse:
        """Ask for nothing; see GetRequiredPackages."""
        return language_pb2.GetRequiredPluginsResponse()

    def GetRequiredPackages(
        self, request: language_pb2.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetRequiredPackagesResponse:
        """Ask for nothing beforehand.

        The official host asks for the plugin of every installed provider package, and the engine
        downloads each, used or not. Without that it gets a plugin when the first resource needs it,
        and a stack that uses none needs no download.
        """
        return language_pb2.GetRequiredPackagesResponse()

    def RuntimeOptionsPrompts(
        self, request: language_pb2.RuntimeOptionsRequest, context: grpc.ServicerContext
    ) -> language_pb2.RuntimeOptionsResponse:
        """Ask nothing: the interpreter is known."""
        return language_pb2.RuntimeOptionsResponse()

    def About(self, request: language_pb2.AboutRequest, context: grpc.ServicerContext) -> language_pb2.AboutResponse:
        """Name the interpreter, for ``pulumi about``."""
        return language_pb2.AboutResponse(executable=sys.executable, version=platform.python_version())

    def GetProgramDependencies(
        self, request: language_pb2.GetProgramDependenciesRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetProgramDependenciesResponse:
        """List what is installed beside the SDK, for ``pulumi about``."""
        from importlib import metadata  # 30 ms, which only `pulumi about` pays

        found = {dist.name: dist.version for dist in metadata.distributions()}
        dependencies = [language_pb2.DependencyInfo(name=name, version=found[name]) for name in sorted(found)]
        return language_pb2.GetProgramDependenciesResponse(dependencies=dependencies)

    def InstallDependencies(
        self, request: language_pb2.InstallDependenciesRequest, context: grpc.ServicerContext
    ) -> Iterator[language_pb2.InstallDependenciesResponse]:
        """Say who installs: the environment is locked, and ``pulumi install`` doesn't change it."""
        text = "Nothing to install: ./gaia setup makes this environment from uv.lock.\n"
        yield language_pb2.InstallDependenciesResponse(stdout=text.encode())

    def Run(self, request: language_pb2.RunRequest, context: grpc.ServicerContext) -> language_pb2.RunResponse:
        """Run the program once; what it printed or logged has gone to the engine already."""
        try:
            python = interpreter(request.info)
        except FileNotFoundError as error:
            return language_pb2.RunResponse(error=str(error))
        program = self._program(python)
        context.add_callback(program.stop)
        request.args.append(self._engine_address)
        return outcome(program.run(request.SerializeToString()))

    def RunPlugin(
        self, request: language_pb2.RunPluginRequest, context: grpc.ServicerContext
    ) -> Iterator[language_pb2.RunPluginResponse]:
        """Run a plugin that is a folder of Python, such as a policy pack, and stream what it prints."""
        try:
            python = interpreter(request.info)
        except FileNotFoundError as error:
            yield language_pb2.RunPluginResponse(stderr=f"{error}\n".encode())
            yield language_pb2.RunPluginResponse(exitcode=1)
            return
        process = subprocess.Popen(
            [python, "-u", "-m", "engine.attached", *plugin_arguments(request)]
            if python == sys.executable
            else [python, "-u", *plugin_arguments(request, plain=True)],
            cwd=request.pwd or None,
            env=dict(pair.split("=", 1) for pair in request.env if "=" in pair) or None,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        context.add_callback(process.terminate)
        yield from _output(process)
        yield language_pb2.RunPluginResponse(exitcode=process.wait())

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        """Do nothing: the engine ends the program's calls itself."""
        return empty_pb2.Empty()

    def _program(self, python: str) -> ProgramProcess:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and waiting.python == python:
            return waiting
        if waiting is not None:
            waiting.stop()
        return ProgramProcess.start(python, os.getppid())


def interpreter(info: language_pb2.ProgramInfo) -> str:
    """The Python that runs a program: that of ``runtime.options.virtualenv``, else the one we run under.

    Raises FileNotFoundError with a sentence for the user where the option names no environment.
    """
    options = dict(info.options)
    virtualenv = options.get("virtualenv")
    if not isinstance(virtualenv, str) or not virtualenv:
        return sys.executable
    folder = Path(info.root_directory or info.program_directory) / virtualenv
    python = folder / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(
            f"Pulumi.yaml names the virtualenv {virtualenv}, but {python} doesn't exist: run ./gaia setup."
        )
    same = os.path.realpath(folder) == os.path.realpath(sys.prefix)
    return sys.executable if same else str(python)


def outcome(code: int | None) -> language_pb2.RunResponse:
    """What a program's exit code means to the engine; None: nobody knows it."""
    if code is None:
        return language_pb2.RunResponse(error="Program ended without an exit code: it was killed, or left without one")
    if code == 0:
        return language_pb2.RunResponse()
    if code == ALREADY_EXPLAINED:
        return language_pb2.RunResponse(bail=True)
    if code < 0:
        return language_pb2.RunResponse(error=f"Program was ended by signal {-code}")
    return language_pb2.RunResponse(error=f"Program exited with non-zero exit code: {code}")


def plugin_arguments(request: language_pb2.RunPluginRequest, *, plain: bool = False) -> list[str]:
    """The arguments after ``python -u`` (plain) or ``engine.attached`` that run a plugin of ``request``'s kind."""
    folder = request.info.program_directory
    module = _MODULES.get(request.kind)
    if module is None:
        return [folder, *request.args]
    return [*(["-m"] if plain else []), module, *request.args, folder]


def _output(process: subprocess.Popen[bytes]) -> Iterator[language_pb2.RunPluginResponse]:
    """Stream standard output and error as they come, until both end."""
    assert process.stdout is not None
    assert process.stderr is not None
    lines: queue.SimpleQueue[language_pb2.RunPluginResponse | None] = queue.SimpleQueue()

    def forward(descriptor: int, wrap: Callable[[bytes], language_pb2.RunPluginResponse]) -> None:
        while chunk := os.read(descriptor, 65536):
            lines.put(wrap(chunk))
        lines.put(None)

    for stream, wrap in (
        (process.stdout, lambda chunk: language_pb2.RunPluginResponse(stdout=chunk)),
        (process.stderr, lambda chunk: language_pb2.RunPluginResponse(stderr=chunk)),
    ):
        threading.Thread(target=forward, args=(stream.fileno(), wrap), daemon=True).start()
    for _ in range(2):
        while (line := lines.get()) is not None:
            yield line
