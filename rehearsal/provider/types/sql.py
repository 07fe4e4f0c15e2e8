"""Cloud SQL: instances, databases, users and client certificates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from rehearsal.provider import rules
from rehearsal.provider.comparing import Change
from rehearsal.provider.resource import ProviderError, Resource, merged
from rehearsal.provider.table import Properties, ResourceType
from rehearsal.provider.types.servicenetworking import by_number, connections

_PRIVATE = (
    "Error, failed to create instance because the network doesn't have at least 1 private services connection. Please "
    "see https://cloud.google.com/sql/docs/mysql/private-ip#network_requirements for how to create this connection."
)
ECHOED = (
    "activationPolicy",
    "availabilityType",
    "backupConfiguration.backupRetentionSettings",
    "backupConfiguration.backupTier",
    "backupConfiguration.enabled",
    "backupConfiguration.location",
    "backupConfiguration.pointInTimeRecoveryEnabled",
    "backupConfiguration.startTime",
    "backupConfiguration.transactionLogRetentionDays",
    "connectorEnforcement",
    "dataDiskSizeGb",
    "dataDiskType",
    "edition",
    "ipConfiguration.serverCaMode",
    "ipConfiguration.sslMode",
    "locationPreference.zone",
    "storageAutoResize",
)
"""Settings that an update says again as the API has them, where the program doesn't give them."""


class OnInstance(Resource):
    """What belongs to an instance: the API takes one change of an instance at a time, and so does the provider."""

    @contextmanager
    def turn(self, known: Properties) -> Iterator[None]:
        names = sorted({str(known.get(key)) for key in ("instance", "masterInstanceName") if known.get(key)})
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(self.account.lock(f"sql {self.place('project', known)} {name}"))
            yield

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        with self.turn(inputs):
            self.wait(self.call("POST", self.fill(self.kind.collection, inputs), body=self.body(inputs)), inputs)
        return self.get(inputs) or {}

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        if any(self.top_field(each.path) for each in changed):
            with self.turn(news):
                self.wait(self.call("PUT", self.fill(self.kind.item, news), body=self.body(news)), news)
        return self.get(news) or {}

    def remove(self, state: Properties) -> None:
        with self.turn(state):
            super().remove(state)


class Instance(OnInstance):
    """The primary or a replica."""

    @contextmanager
    def turn(self, known: Properties) -> Iterator[None]:
        with super().turn({**known, "instance": known["name"]}):
            yield

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        self._private(inputs)
        with self.turn(inputs):
            operation = self.call("POST", self.fill(self.kind.collection, inputs), body=self.body(inputs))
            try:
                self.wait(operation, inputs)
            except ProviderError as error:
                raise ProviderError(f"Error waiting for Create Instance: {error}") from error
            if not inputs.get("masterInstanceName"):
                self._without_root(inputs)
        return self.get(inputs) or {}

    def body(self, inputs: Properties) -> dict[str, Any]:
        body = super().body(inputs)
        settings = body.get("settings", {})
        if "ipConfiguration" in settings:
            settings["ipConfiguration"]["requireSsl"] = None
        return body

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        item, paths = self.fill(self.kind.item, news), {each.path for each in changed}
        with self.turn(news):
            if "instanceType" in paths and state.get("instanceType") == "READ_REPLICA_INSTANCE":
                self.wait(self.call("POST", f"{item}/promoteReplica"), news)
            if "databaseVersion" in paths:
                self._change(item, news, {"databaseVersion": news["databaseVersion"]}, "PATCH")
            if "rootPassword" in paths:
                body = {"name": "postgres", "password": news.get("rootPassword")}
                self.wait(self.call("PUT", f"{item}/users", {"name": "postgres", "host": ""}, body), news)
            self._put(item, news)
        return self.get(news) or {}

    def remove(self, state: Properties) -> None:
        query = {"finalBackupDescription": str(state.get("finalBackupDescription") or "")}
        with self.turn(state):
            self.wait(self.call("DELETE", self.fill(self.kind.item, state), query), state)

    def get(self, known: Properties) -> Mapping[str, Any]:
        return self.call("GET", self.fill(self.kind.item, known))

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        addresses = {each.get("type"): each.get("ipAddress") for each in reversed(answer.get("ipAddresses") or [])}
        first = next(iter(answer.get("ipAddresses") or []), {}).get("ipAddress", "")
        master = str(answer.get("masterInstanceName") or "").rsplit(":", 1)[-1]
        found = {
            "firstIpAddress": first,
            "privateIpAddress": addresses.get("PRIVATE", ""),
            "publicIpAddress": addresses.get("PRIMARY", ""),
            **({"masterInstanceName": master} if master else {}),
        }
        settings = answer.get("settings") or {}
        if isinstance(state.get("settings"), dict):
            state["settings"]["version"] = int(settings.get("settingsVersion", 0))
        return found

    def _put(self, item: str, news: Properties) -> None:
        live = self.call("GET", item)["settings"]
        settings = merged(_echo(live), self.body(news)["settings"])
        settings |= {"dataCacheConfig": settings.get("dataCacheConfig", {}), "settingsVersion": live["settingsVersion"]}
        settings["ipConfiguration"] = merged({"requireSsl": None}, settings.get("ipConfiguration", {}))
        if settings.get("storageAutoResize") and int(live.get("dataDiskSizeGb", 0)) > int(
            settings.get("dataDiskSizeGb", 0)
        ):
            # It has grown by itself: a smaller size is no wish to shrink it.
            settings["dataDiskSizeGb"] = live["dataDiskSizeGb"]
        replica = bool(news.get("masterInstanceName"))
        kind = news.get("instanceType") or ("READ_REPLICA_INSTANCE" if replica else "CLOUD_SQL_INSTANCE")
        self._change(item, news, {"instanceType": kind, "settings": settings}, "PUT")

    def _change(self, item: str, news: Properties, body: dict[str, Any], verb: str) -> None:
        try:
            self.wait(self.call(verb, item, body=body), news)
        except ProviderError as error:
            raise ProviderError(f"Error waiting for Update Instance: {error}") from error

    def _private(self, inputs: Properties) -> None:
        """Without a peering the provider doesn't even ask for an instance with a private address."""
        network = inputs.get("settings", {}).get("ipConfiguration", {}).get("privateNetwork")
        if network and not connections(self, by_number(self, network), "servicenetworking.googleapis.com"):
            raise ProviderError(_PRIVATE)

    def _without_root(self, inputs: Properties) -> None:
        """MySQL's root from anywhere; PostgreSQL has none, and the provider looks all the same."""
        users = f"{self.fill(self.kind.item, inputs)}/users"
        for each in self.call("GET", users).get("items", []):
            if each.get("name") == "root" and each.get("host") == "%":
                self.wait(self.call("DELETE", users, {"name": "root", "host": "%"}), inputs)


def _echo(live: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in ECHOED:
        outer, _, inner = path.partition(".")
        value = live.get(outer)
        if inner:
            if isinstance(value, Mapping) and inner in value:
                found.setdefault(outer, {})[inner] = value[inner]
        elif value is not None:
            found[outer] = value
    return found


class User(OnInstance):
    """Found in the list of users: there is no reading of a single one."""

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        with self.turn(inputs):
            operation = self.call("POST", self.fill(self.kind.collection, inputs), body=self.body(inputs))
            try:
                self.wait(operation, inputs)
            except ProviderError as error:
                raise ProviderError(
                    f"Error, failed to insert user {inputs['name']} into instance {inputs['instance']}: {error}"
                ) from error
        found = self.get(inputs)
        if found is None:
            raise ProviderError(f"user {inputs['name']} isn't in the list of {inputs['instance']} after it was made")
        return found

    def get(self, known: Properties) -> Mapping[str, Any] | None:
        name = str(known["name"])
        listed = self.call("GET", self.fill(self.kind.collection, known)).get("items", [])
        for each in listed:
            if each.get("name") == name and (each.get("host") or "") == (known.get("host") or ""):
                return each
        return None

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        if any(self.top_field(each.path) for each in changed):
            query = {**self._who(news), "revokeExistingRoles": "false"}
            path = self.fill(self.kind.collection, news)
            with self.turn(news):
                self.wait(self.call("PUT", path, query, self.body(news)), news)
        return self.get(news) or {}

    def remove(self, state: Properties) -> None:
        with self.turn(state):
            path = self.fill(self.kind.collection, state)
            self.wait(self.call("DELETE", path, self._who(state)), state)

    def id_of(self, state: Properties) -> str:
        return f"{state['name']}/{state.get('host') or ''}/{state['instance']}"

    def from_id(self, resource_id: str) -> Properties:
        name, host, instance = resource_id.rsplit("/", 2)
        return {"name": name, "host": host, "instance": instance}

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        return {"host": answer.get("host") or ""}

    def _who(self, known: Properties) -> dict[str, str]:
        return {"host": known.get("host") or "", "name": known["name"]}


class Certificate(OnInstance):
    """Its key is only in the answer that makes it."""

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        with self.turn(inputs):
            path = self.fill(self.kind.collection, inputs)
            answer = self.call("POST", path, body={"commonName": inputs["commonName"]})
            self.wait(answer["operation"], inputs)
        made = answer["clientCert"]
        return {
            **made["certInfo"],
            "certPrivateKey": made["certPrivateKey"],
            "serverCaCert": (answer.get("serverCaCert") or {}).get("cert"),
        }

    def id_of(self, state: Properties) -> str:
        return (
            f"projects/{self.place('project', state)}/instances/{state['instance']}/sslCerts/{state['sha1Fingerprint']}"
        )

    def remove(self, state: Properties) -> None:
        with self.turn(state):
            self.wait(self.call("DELETE", self.fill(self.kind.item, state)), state)


def _shrinks(state: Properties, news: Properties) -> str | None:
    """A disk only grows; with autoresize a smaller size means nothing."""
    before, after = state.get("settings", {}), news.get("settings", {})
    sizes = before.get("diskSize"), after.get("diskSize")
    if all(isinstance(each, int) for each in sizes) and sizes[1] < sizes[0] and not after.get("diskAutoresize", True):
        return "a disk can't shrink"
    return None


def _grew_by_itself(state: Properties, news: Properties) -> str | None:
    before, after = state.get("settings", {}).get("diskSize"), news.get("settings", {})
    if before and after.get("diskAutoresize", True) and after.get("diskSize", 0) < before:
        return "with autoresize a smaller disk is no wish to shrink it"
    return None


def _leaves_the_network(state: Properties, news: Properties) -> str | None:
    before, after = (each.get("settings", {}).get("ipConfiguration") or {} for each in (state, news))
    if before.get("privateNetwork") and not after.get("privateNetwork"):
        return "a private network can't be left"
    return None


def _other_master(state: Properties, news: Properties) -> str | None:
    before, after = state.get("masterInstanceName"), news.get("masterInstanceName")
    return "a replica can't get another primary" if before and after and before != after else None


def _settings(inputs: Properties) -> tuple[str, str] | None:
    if any(rules.given(inputs, name) for name in ("settings", "clone", "pointInTimeRestoreContext")):
        return None
    names = "clone,point_in_time_restore_context,settings"
    return "settings", f'Missing required argument. "settings": one of `{names}` must be specified'


_S = "settings"
_IP, _BACKUP = f"{_S}.ipConfiguration", f"{_S}.backupConfiguration"
_REPLICA = tuple(
    f"replicaConfiguration.{name}"
    for name in (
        "caCertificate",
        "clientCertificate",
        "clientKey",
        "connectRetryInterval",
        "dumpFilePath",
        "failoverTarget",
        "masterHeartbeatPeriod",
        "password",
        "sslCipher",
        "username",
        "verifyServerCertificate",
    )
)
TYPES = (
    ResourceType(
        token="gcp:sql/databaseInstance:DatabaseInstance",
        service="sql",
        collection="projects/{project}/instances",
        item="projects/{project}/instances/{name}",
        id="projects/{project}/instances/{name}",
        source="recorded: POST, operation, GET; GET and PUT of all settings with their version (fixed plugin); DELETE",
        update="PUT",
        operation="sql",
        rename={
            "encryptionKeyName": "diskEncryptionConfiguration.kmsKeyName",
            "serverCaCerts": "serverCaCert{}",
            f"{_S}.connectionPoolConfigs": "connectionPoolConfig{}",
            f"{_S}.dataDiskProvisionedIops": "dataDiskProvisionedIops'",
            f"{_S}.dataDiskProvisionedThroughput": "dataDiskProvisionedThroughput'",
            f"{_S}.denyMaintenancePeriod": "denyMaintenancePeriods[]",
            f"{_S}.diskAutoresize": "storageAutoResize",
            f"{_S}.diskAutoresizeLimit": "storageAutoResizeLimit'",
            f"{_S}.diskSize": "dataDiskSizeGb'",
            f"{_S}.diskType": "dataDiskType",
            f"{_IP}.pscConfigs": "pscConfig{}",
        },
        local=frozenset(
            {
                "project",
                "deletionPolicy",
                "deletionProtection",
                "enforceNewSqlNetworkArchitecture",
                "finalBackupDescription",
                f"{_S}.version",
                f"{_S}.effectiveAvailabilityType",
            }
        ),
        write_only=frozenset({"rootPassword"}),
        unmodelled=frozenset(
            {
                "backupdrBackup",
                "blueGreenDeployment",
                "clone",
                "encryptionConfidentialMode",
                "pointInTimeRestoreContext",
                "replicaConfiguration",
                "restoreBackupContext",
                "rootPasswordWo",
                "rootPasswordWoVersion",
                f"{_IP}.pscConfigs.pscAutoConnections.consumerServiceProjectId",
            }
        ),
        sends_empty=frozenset(
            {
                f"{_BACKUP}.binaryLogEnabled",
                f"{_BACKUP}.enabled",
                f"{_BACKUP}.pointInTimeRecoveryEnabled",
                f"{_IP}.ipv4Enabled",
                f"{_IP}.enablePrivatePathForGoogleCloudServices",
                f"{_S}.diskAutoresize",
                f"{_S}.deletionProtectionEnabled",
                f"{_S}.enableDataplexIntegration",
                f"{_S}.enableGoogleMlIntegration",
                f"{_S}.insightsConfig.enhancedQueryInsightsEnabled",
                f"{_S}.insightsConfig.queryInsightsEnabled",
                f"{_S}.insightsConfig.recordApplicationTags",
                f"{_S}.insightsConfig.recordClientAddress",
                f"{_S}.maintenanceWindow.hour",
                f"{_S}.retainBackupsOnDelete",
            }
        ),
        defaults={
            "settings": {
                "activationPolicy": "ALWAYS",
                "availabilityType": "ZONAL",
                "diskAutoresize": True,
                "enableDataplexIntegration": False,
                "enableGoogleMlIntegration": False,
                "pricingPlan": "PER_USE",
                "retainBackupsOnDelete": False,
            }
        },
        kept=frozenset(
            {
                f"{_S}.backupConfiguration",
                f"{_S}.connectorEnforcement",
                f"{_S}.diskSize",
                f"{_S}.diskType",
                f"{_S}.edition",
                f"{_S}.effectiveAvailabilityType",
                f"{_S}.locationPreference",
                f"{_S}.userLabels",
                f"{_S}.version",
                f"{_BACKUP}.backupRetentionSettings",
                f"{_BACKUP}.backupTier",
                f"{_BACKUP}.startTime",
                f"{_BACKUP}.transactionLogRetentionDays",
                f"{_IP}.serverCaMode",
                f"{_IP}.sslMode",
            }
        ),
        unordered=frozenset({f"{_S}.databaseFlags", f"{_IP}.authorizedNetworks"}),
        words={
            f"{_S}.edition": ("ENTERPRISE", "ENTERPRISE_PLUS"),
            f"{_S}.availabilityType": ("REGIONAL", "ZONAL"),
            f"{_S}.connectorEnforcement": ("NOT_REQUIRED", "REQUIRED"),
            f"{_IP}.sslMode": (
                "ALLOW_UNENCRYPTED_AND_ENCRYPTED",
                "ENCRYPTED_ONLY",
                "TRUSTED_CLIENT_CERTIFICATE_REQUIRED",
            ),
        },
        replaces=frozenset({"encryptionKeyName", "name", "project", "region", f"{_S}.collation", *_REPLICA}),
        suppressed={f"{_S}.diskSize": _grew_by_itself},
        forced=(_shrinks, _leaves_the_network, _other_master),
        checks=(
            _settings,
            rules.within(f"{_S}.maintenanceWindow.day", 1, 7),
            rules.within(f"{_S}.maintenanceWindow.hour", 0, 23),
        ),
        protected="Error, failed to delete instance because deletion_protection is set to true. Set it to false to "
        "proceed with instance deletion",
        protected_by_default=True,
        behaviour=Instance,
    ),
    ResourceType(
        token="gcp:sql/database:Database",
        service="sql",
        collection="projects/{project}/instances/{instance}/databases",
        item="projects/{project}/instances/{instance}/databases/{name}",
        id="projects/{project}/instances/{instance}/databases/{name}",
        source="recorded: POST, operation, GET, DELETE",
        update="PUT",
        operation="sql",
        local=frozenset({"project", "deletionPolicy"}),
        replaces=frozenset({"instance", "name", "project"}),
        behaviour=OnInstance,
    ),
    ResourceType(
        token="gcp:sql/user:User",
        service="sql",
        collection="projects/{project}/instances/{instance}/users",
        item="",
        id="{name}/{host}/{instance}",
        source="recorded: POST, operation, list; PUT and DELETE with ?host&name",
        operation="sql",
        rename={"sqlServerUserDetails": "sqlserverUserDetails{}", "passwordPolicy.statuses": "status{}"},
        local=frozenset({"project", "deletionPolicy"}),
        write_only=frozenset({"password", "databaseRoles", "passwordPolicy"}),
        unmodelled=frozenset({"passwordWo", "passwordWoVersion"}),
        replaces=frozenset({"host", "instance", "name", "project", "type"}),
        checks=(rules.conflict("password", "passwordWo"),),
        behaviour=User,
    ),
    ResourceType(
        token="gcp:sql/sslCert:SslCert",
        service="sql",
        collection="projects/{project}/instances/{instance}/sslCerts",
        item="projects/{project}/instances/{instance}/sslCerts/{sha1Fingerprint}",
        id="projects/{project}/instances/{instance}/sslCerts/{sha1Fingerprint}",
        source="https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1beta4/sslCerts; not recorded",
        update="",
        operation="sql",
        rename={"privateKey": "certPrivateKey"},
        local=frozenset({"project", "deletionPolicy"}),
        replaces=frozenset({"commonName", "instance", "project"}),
        behaviour=Certificate,
    ),
)
