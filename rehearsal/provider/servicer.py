"""Pulumi's provider protocol in front of the table: one servicer for ``gcp``, one for ``random``."""

from __future__ import annotations

import importlib.metadata
import os
import secrets
import threading
from collections.abc import Iterable
from typing import Any, NoReturn

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from rehearsal.provider import checking, comparing, random_values
from rehearsal.provider.checking import Failure
from rehearsal.provider.comparing import Change
from rehearsal.provider.policies import Member
from rehearsal.provider.protocol import (
    UNKNOWN,
    Properties,
    fail,
    fail_half_made,
    secret,
    to_plain,
    to_struct,
)
from rehearsal.provider.resource import Account, HalfMadeError, ProviderError, Resource
from rehearsal.provider.rest import Rest, RestError
from rehearsal.provider.table import ResourceType
from rehearsal.provider.types import TYPES

KINDS = {
    ("add", False): provider_pb2.PropertyDiff.ADD,
    ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
    ("update", False): provider_pb2.PropertyDiff.UPDATE,
    ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
    ("delete", False): provider_pb2.PropertyDiff.DELETE,
    ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
}
TOKEN = "GOOGLE_OAUTH_ACCESS_TOKEN"  # noqa: S105 - the name of the variable


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """What every provider answers alike. It takes no secrets: the engine sends plain values and marks them again."""

    package = ""

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.ProviderHandshakeResponse()

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=importlib.metadata.version(self.package))

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        fail(context, f"the built-in provider doesn't look anything up: {request.tok}")

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()


class GcpProvider(Provider):
    """Google Cloud, by the table. It keeps its configuration and its connections, nothing else."""

    package = "pulumi-gcp"

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._account = Account(configuration={}, rest=Rest("", self._cancelled))

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        configuration = to_plain(request.args)
        self._account.rest.close()
        # An attached provider outlives an engine, and each engine cancels as it ends.
        self._cancelled = threading.Event()
        token = configuration.get("accessToken") or os.environ.get(TOKEN, "")
        self._account = Account(configuration=configuration, rest=Rest(token, self._cancelled))
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        kind, news, name = _kind(request, context), to_plain(request.news), _name(request)
        if "name" in kind.shape["in"] and "name" not in news and not _is_member(kind):
            olds = to_plain(request.olds)
            news["name"] = olds.get("name") or f"{name}-{secrets.token_hex(4)[:7]}"
        inputs, failures = checking.check(kind, news)
        return provider_pb2.CheckResponse(inputs=to_struct(inputs), failures=_failures(name, failures))

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        kind, state, news = _kind(request, context), to_plain(request.olds), to_plain(request.news)
        found = comparing.changes(kind, state, to_plain(request.old_inputs), news)
        # Two of one name can't be there at once.
        named = "name" in kind.shape["in"] and not _is_member(kind) and state.get("name") == news.get("name")
        return _difference(found, delete_first=named)

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        kind, inputs = _kind(request, context), to_plain(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=_told(kind, _foreseen(kind, inputs)))
        resource = self._resource(kind, request)
        try:
            resource_id, state = resource.create(inputs)
        except HalfMadeError as error:
            _half_made(context, kind, error, inputs)
        except (ProviderError, RestError) as error:
            fail(context, f"error creating {_title(kind)}: {error}")
        return provider_pb2.CreateResponse(id=resource_id, properties=_told(kind, state))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        kind, state, inputs = _kind(request, context), to_plain(request.properties), to_plain(request.inputs)
        try:
            now = self._resource(kind, request).read(request.id, state)
        except (ProviderError, RestError) as error:
            fail(context, f"error reading {_title(kind)} {request.id}: {error}")
        if now is None:
            return provider_pb2.ReadResponse()
        if inputs:
            given = comparing.projected(inputs, now)
        else:
            # An import: whatever is there and could be given.
            given = {name: now[name] for name in kind.inputs if now.get(name) not in (None, "", [], {})}
        return provider_pb2.ReadResponse(id=request.id, properties=_told(kind, now), inputs=to_struct(given))

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        kind, state, news = _kind(request, context), to_plain(request.olds), to_plain(request.news)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=_told(kind, {**state, **news}))
        found = comparing.changes(kind, state, to_plain(request.old_inputs), news)
        try:
            now = self._resource(kind, request).update(state, news, found)
        except HalfMadeError as error:
            _half_made(context, kind, error, news)
        except (ProviderError, RestError) as error:
            fail(context, f"error updating {_title(kind)} {request.id}: {error}")
        return provider_pb2.UpdateResponse(properties=_told(kind, now))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        kind, state = _kind(request, context), to_plain(request.properties)
        try:
            self._resource(kind, request).delete(state)
        except (ProviderError, RestError) as error:
            fail(context, f"error deleting {_title(kind)} {request.id}: {error}")
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._cancelled.set()
        return empty_pb2.Empty()

    def close(self) -> None:
        self._account.rest.close()

    def _resource(self, kind: ResourceType, request: Any) -> Resource:
        return (kind.behaviour or Resource)(kind, self._account, getattr(request, "timeout", 0.0))


class RandomProvider(Provider):
    """Values that only the engine keeps."""

    package = "pulumi-random"

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs, failures = random_values.check(_random(request, context), to_plain(request.news))
        return provider_pb2.CheckResponse(inputs=to_struct(inputs), failures=_failures(_name(request), failures))

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = random_values.diff(_random(request, context), to_plain(request.olds), to_plain(request.news))
        return _difference(found, delete_first=False)

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        token = _random(request, context)
        resource_id, state = random_values.create(token, to_plain(request.properties), preview=request.preview)
        hidden = {name: secret(state[name]) for name in random_values.KINDS[token].secret}
        return provider_pb2.CreateResponse(id=resource_id, properties=to_struct({**state, **hidden}))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.UpdateResponse(properties=request.olds)

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()


def _token(request: Any) -> str:
    return request.urn.split("::")[2].split("$")[-1]


def _name(request: Any) -> str:
    return request.urn.split("::", 3)[3]


def _kind(request: Any, context: grpc.ServicerContext) -> ResourceType:
    token = _token(request)
    if token not in TYPES:
        fail(context, f"{token}: the built-in provider doesn't model this type, only the official one does")
    return TYPES[token]


def _random(request: Any, context: grpc.ServicerContext) -> str:
    token = _token(request)
    if token not in random_values.KINDS:
        fail(context, f"{token}: the built-in provider doesn't model this type, only the official one does")
    return token


def _title(kind: ResourceType) -> str:
    return kind.token.rsplit(":", 1)[1]


def _is_member(kind: ResourceType) -> bool:
    return kind.behaviour is not None and issubclass(kind.behaviour, Member)


def _failures(name: str, failures: Iterable[Failure]) -> list[Any]:
    return [provider_pb2.CheckFailure(reason=each.reason(name)) for each in failures]


def _difference(found: list[Change], *, delete_first: bool) -> Any:
    answer = provider_pb2.DiffResponse
    replaces = [each.path for each in found if each.replaces]
    return answer(
        changes=answer.DIFF_SOME if found else answer.DIFF_NONE,
        diffs=sorted({each.path.split(".")[0].split("[")[0] for each in found}),
        replaces=replaces,
        deleteBeforeReplace=bool(replaces) and delete_first,
        detailedDiff={each.path: provider_pb2.PropertyDiff(kind=KINDS[each.kind, each.replaces]) for each in found},
        hasDetailedDiff=True,
    )


def _foreseen(kind: ResourceType, inputs: Properties) -> Properties:
    """What a preview shows of what isn't there yet: everything that the cloud decides is unknown."""
    decided = [*kind.outputs, *kind.shape["kept"]]
    return {**dict.fromkeys(decided, UNKNOWN), **inputs}


def _marked(kind: ResourceType, state: Properties) -> Properties:
    hidden = {name: secret(state[name]) for name in kind.shape["secret"] if name in state}
    return {**state, **hidden}


def _half_made(context: grpc.ServicerContext, kind: ResourceType, error: HalfMadeError, inputs: Properties) -> NoReturn:
    state = _marked(kind, error.state)
    fail_half_made(context, str(error), resource_id=error.resource_id, state=state, inputs=inputs)


def _told(kind: ResourceType, state: Properties) -> Any:
    return to_struct(_marked(kind, state))
