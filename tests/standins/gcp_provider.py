"""The least that an engine needs to preview and bring up production: it takes everything and makes up what is computed.

``python -m tests.standins.gcp_provider`` prints its port; ``PULUMI_DEBUG_PROVIDERS=gcp:PORT,random:PORT`` attaches an
engine. It proves nothing about Google: only that the program runs in the engine, and asks for nothing besides its
resources.
"""

from __future__ import annotations

import secrets
from typing import Any

from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from rehearsal.provider.protocol import UNKNOWN, Properties, fail, serve, to_plain, to_struct

COMPUTED: dict[str, Properties] = {
    "gcp:sql/databaseInstance:DatabaseInstance": {
        "connectionName": "project:region:instance",
        "serviceAccountEmailAddress": "sql@example.com",
        "privateIpAddress": "10.9.0.3",
        "publicIpAddress": "203.0.113.9",
        "dnsName": "instance.us-west1.sql.goog.",
        "pscServiceAttachmentLink": "projects/p/regions/r/serviceAttachments/s",
        "serverCaCerts": [{"cert": "an authority"}],
    },
    "gcp:secretmanager/secret:Secret": {"name": "projects/p/secrets/s"},
    "gcp:secretmanager/secretVersion:SecretVersion": {"version": "1"},
    "gcp:serviceaccount/account:Account": {"email": "account@example.com", "name": "projects/p/serviceAccounts/a"},
    "gcp:projects/serviceIdentity:ServiceIdentity": {"member": "serviceAccount:sql@example.com"},
    "gcp:monitoring/notificationChannel:NotificationChannel": {"name": "projects/p/notificationChannels/1"},
    "gcp:compute/address:Address": {"address": "10.138.0.9", "selfLink": "link"},
    "gcp:sql/sslCert:SslCert": {"cert": "a certificate", "privateKey": "a key"},
    "gcp:projects/iAMCustomRole:IAMCustomRole": {"name": "projects/p/roles/r"},
}
"""What the cloud would answer, by type; in a preview it isn't known."""


def _random(token: str) -> Properties:
    value = secrets.token_hex(32)
    return {"hex": value, "base64": value} if token.endswith("RandomBytes") else {"result": value, "bcryptHash": value}


class GcpProvider(provider_pb2_grpc.ResourceProviderServicer):
    """Takes every input as it is. An invoke is a fault: the program looks nothing up."""

    def Handshake(self, request: Any, context: Any) -> Any:
        return provider_pb2.ProviderHandshakeResponse()

    def Attach(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version="10.2.0")

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def Diff(self, request: Any, context: Any) -> Any:
        olds, news = to_plain(request.old_inputs), to_plain(request.news)
        answer = provider_pb2.DiffResponse
        changed = [key for key in {*olds, *news} if olds.get(key) != news.get(key)]
        return answer(changes=answer.DIFF_SOME if changed else answer.DIFF_NONE, diffs=changed)

    def Create(self, request: Any, context: Any) -> Any:
        token = request.urn.split("::")[2].split("$")[-1]
        made = {**COMPUTED.get(token, {}), **(_random(token) if token.startswith("random:") else {})}
        if request.preview:
            made = dict.fromkeys(made, UNKNOWN)
        return provider_pb2.CreateResponse(
            id="" if request.preview else f"{token}-id", properties=to_struct({**to_plain(request.properties), **made})
        )

    def Update(self, request: Any, context: Any) -> Any:
        return provider_pb2.UpdateResponse(properties=to_struct({**to_plain(request.olds), **to_plain(request.news)}))

    def Delete(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:
        fail(context, f"the program looks something up: {request.tok}")

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()


if __name__ == "__main__":
    serve(GcpProvider())
