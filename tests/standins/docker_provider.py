"""A stand-in for Pulumi's ``docker`` provider, for machines where the official plugin can't be downloaded.

``python -m tests.standins.docker_provider`` prints its port; ``PULUMI_DEBUG_PROVIDERS=docker:PORT`` attaches an engine.
Started by an engine, as an ordinary plugin executable, it does the same.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import threading
from typing import Any

import docker
import grpc
from docker.errors import DockerException
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from rehearsal.provider.protocol import Properties, fail, fail_half_made, serve, to_plain, to_struct
from tests.standins import docker_schema
from tests.standins.docker_container import Containers
from tests.standins.docker_resources import (
    HalfMadeError,
    Networks,
    OperationError,
    Operations,
    RemoteImages,
    Volumes,
    said,
)
from tests.standins.docker_schema import CONTAINER, NETWORK, REMOTE_IMAGE, RESOURCES, VOLUME, Difference, Failure

OLDEST_VERSION = "5.1.0"
"""The release of pulumi-docker whose behaviour was compared with this."""
REQUEST_TIMEOUT_S = 300
"""Bounds one request to Docker; a pull is the longest."""

KINDS = {
    ("add", False): provider_pb2.PropertyDiff.ADD,
    ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
    ("update", False): provider_pb2.PropertyDiff.UPDATE,
    ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
    ("delete", False): provider_pb2.PropertyDiff.DELETE,
    ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
}


class DockerProvider(provider_pb2_grpc.ResourceProviderServicer):
    """The protocol, in front of the plain functions of docker_schema and the operations on Docker.

    It doesn't accept secrets, so the engine sends plain values and marks what comes back as secret itself wherever
    the input was one: a secret environment stays secret in the state.
    """

    def __init__(self) -> None:
        self._containers = Containers()
        self._operations: dict[str, Operations] = {
            NETWORK: Networks(),
            VOLUME: Volumes(),
            REMOTE_IMAGE: RemoteImages(),
            CONTAINER: self._containers,
        }
        self._host: str | None = None
        self._local = threading.local()

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.ProviderHandshakeResponse()

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=_version())

    def GetSchema(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.GetSchemaResponse(schema=json.dumps(docker_schema.engine_schema(_version())))

    def GetMapping(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.GetMappingResponse()

    def GetMappings(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.GetMappingsResponse()

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        failures = docker_schema.check_config(to_plain(request.news))
        return provider_pb2.CheckResponse(inputs=request.news, failures=_failures(failures))

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        changed = to_plain(request.olds).get("host") != to_plain(request.news).get("host")
        answer = provider_pb2.DiffResponse
        return answer(changes=answer.DIFF_SOME if changed else answer.DIFF_NONE, replaces=["host"] if changed else [])

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._host = to_plain(request.args).get("host") or None
        # An attached provider outlives an engine, and each engine cancels as it ends.
        self._containers.cancelled.clear()
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        token, name = _token(request, context), _name(request)
        proposed = request.autonaming.proposed_name if request.HasField("autonaming") else ""
        inputs, failures = docker_schema.check(
            token, to_plain(request.olds), to_plain(request.news), name=name, proposed_name=proposed
        )
        return provider_pb2.CheckResponse(inputs=to_struct(inputs), failures=_failures(failures))

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        token, state, news = _token(request, context), to_plain(request.olds), to_plain(request.news)
        ignored = {path.split(".")[0].split("[")[0] for path in request.ignoreChanges}
        found = [item for item in docker_schema.diff(token, state, news) if item.property not in ignored]
        answer = provider_pb2.DiffResponse
        replaces = [item.property for item in found if item.replaces]
        return answer(
            changes=answer.DIFF_SOME if found else answer.DIFF_NONE,
            diffs=[item.property for item in found],
            replaces=replaces,
            deleteBeforeReplace=bool(replaces) and docker_schema.deletes_before_replacing(state, news),
            detailedDiff={item.property: _property_diff(item) for item in found},
            hasDetailedDiff=True,
        )

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        token, inputs = _token(request, context), to_plain(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=to_struct(docker_schema.preview_state(token, inputs)))
        wanted = _without_defaulted(inputs)
        try:
            resource_id, state = self._operations[token].create(self._client(), _with_defaults(token, wanted))
        except HalfMadeError as error:
            fail_half_made(context, str(error), resource_id=error.resource_id, state=error.state, inputs=inputs)
        except (OperationError, DockerException) as error:
            fail(context, said(error))
        return provider_pb2.CreateResponse(id=resource_id, properties=to_struct(state))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        token, state, inputs = _token(request, context), to_plain(request.properties), to_plain(request.inputs)
        try:
            found = self._operations[token].read(self._client(), request.id, state)
        except (OperationError, DockerException) as error:
            fail(context, said(error))
        if found is None:
            return provider_pb2.ReadResponse()
        resource_id, now = found
        return provider_pb2.ReadResponse(
            id=resource_id, properties=to_struct(now), inputs=to_struct(_inputs_now(token, inputs, now))
        )

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        token, state, inputs = _token(request, context), to_plain(request.olds), to_plain(request.news)
        if request.preview:
            now = docker_schema.preview_state(token, inputs, state)
            return provider_pb2.UpdateResponse(properties=to_struct(now))
        wanted = _with_defaults(token, _without_defaulted(inputs))
        try:
            now = self._operations[token].update(self._client(), request.id, state, wanted)
        except (OperationError, DockerException) as error:
            fail(context, said(error))
        return provider_pb2.UpdateResponse(properties=to_struct(now))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        token, state = _token(request, context), to_plain(request.properties)
        try:
            self._operations[token].delete(self._client(), request.id, state)
        except (OperationError, DockerException) as error:
            fail(context, said(error))
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._containers.cancelled.set()
        return empty_pb2.Empty()

    def _client(self) -> docker.DockerClient:
        """One connection for each thread. Raises OperationError, in one sentence, where no engine answers."""
        client: docker.DockerClient | None = getattr(self._local, "client", None)
        if client is None:
            host = self._host or os.environ.get("DOCKER_HOST") or None
            try:
                if host and host != os.environ.get("DOCKER_HOST"):
                    client = docker.DockerClient(base_url=host, timeout=REQUEST_TIMEOUT_S)
                else:
                    client = docker.from_env(timeout=REQUEST_TIMEOUT_S)
                client.ping()
            except (DockerException, OSError) as error:
                where = host or "unix:///var/run/docker.sock"
                raise OperationError(
                    f"Cannot connect to the Docker daemon at {where}. Is the docker daemon running? ({error})"
                ) from error
            self._local.client = client
        return client


@functools.cache
def _version() -> str:
    """That of the installed SDK: the engine warns of any older one."""
    try:
        return importlib.metadata.version("pulumi-docker")
    except importlib.metadata.PackageNotFoundError:
        return OLDEST_VERSION


def _token(request: Any, context: grpc.ServicerContext) -> str:
    token = request.urn.split("::")[2].split("$")[-1]
    if token not in RESOURCES:
        fail(context, f"the docker stand-in doesn't model {token}; it models {', '.join(RESOURCES)}")
    return token


def _name(request: Any) -> str:
    return request.urn.split("::")[-1]


def _failures(failures: list[Failure]) -> list[Any]:
    return [provider_pb2.CheckFailure(property=item.property, reason=item.reason) for item in failures]


def _property_diff(item: Difference) -> Any:
    return provider_pb2.PropertyDiff(kind=KINDS[item.change, item.replaces])


def _without_defaulted(inputs: Properties) -> Properties:
    return {key: value for key, value in inputs.items() if key != docker_schema.DEFAULTED}


@functools.cache
def _defaults(token: str) -> dict[str, Any]:
    return {name: known.default for name, known in RESOURCES[token].inputs.items() if known.default is not None}


def _with_defaults(token: str, inputs: Properties) -> Properties:
    return {**_defaults(token), **inputs}


def _inputs_now(token: str, inputs: Properties, now: Properties) -> Properties:
    """The inputs after a refresh: where the state differs from what was asked for, the state's value. With an import,
    which has none, whatever the state has.
    """
    if not inputs:
        known = {name: now[name] for name in RESOURCES[token].inputs if now.get(name) not in (None, "", [], {}, 0)}
        return {**known, docker_schema.DEFAULTED: []}
    changed = {item.property for item in docker_schema.diff(token, now, inputs)}
    return {**inputs, **{name: now[name] for name in changed & set(inputs) if name in now}}


if __name__ == "__main__":
    serve(DockerProvider())
