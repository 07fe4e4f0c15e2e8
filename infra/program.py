"""The Pulumi program: settings → components → outputs. The only place where they meet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi

from infra import outputs, settings

if TYPE_CHECKING:
    from infra.gcp.access import Access
    from infra.gcp.apis import Apis
    from infra.gcp.client_certificate import ClientCertificate
    from infra.gcp.instance import Instance
    from infra.gcp.logins import Logins
    from infra.gcp.network import Network
    from infra.gcp.place import Place
    from infra.gcp.psc import PscEndpoint
    from infra.gcp.secrets import Secrets
    from infra.gcp.settings import Gcp

CHECKOUT = Path(__file__).resolve().parent.parent


def deploy() -> None:
    """Declare the running stack. Raises ``pulumi.RunError``, one sentence a line, for what its file gets wrong."""
    try:
        loaded = settings.load()
    except settings.SettingsError as error:
        raise pulumi.RunError(str(error)) from None
    outputs.export(_gcp(loaded.settings) if loaded.settings.target == "gcp" else _local(loaded))


def _local(loaded: settings.Loaded) -> outputs.StackOutputs:
    from infra.local import contained, logins, postgres
    from infra.local.password import Password
    from infra.local.schema import Schema, SchemaArgs
    from migrations.connection import login_url

    stack, database = loaded.settings, loaded.settings.database
    superuser_password = Password("superuser-password", loaded.password)
    app = logins.declare(stack.rotation)
    home = (contained if stack.docker else postgres).home_for(CHECKOUT, stack.stack)
    server = _server(stack, home, superuser_password.value)
    host = server.host
    standby = _standby(stack, home, server, superuser_password.value) if database.replicas else None
    schema = Schema(
        "schema",
        SchemaArgs(
            server=server.identity,
            host=host,
            port=database.port,
            database=database.name,
            superuser=database.user,
            password=superuser_password.value,
            app=app,
            retention=database.retention,
            start_timeout_s=server.start_timeout_s,
            container=server.container,
        ),
        # Where commits wait for the standby, a migration would wait for ever for one that is broken.
        opts=pulumi.ResourceOptions(depends_on=[server.resource, *([standby] if standby else [])]),
    )

    def app_url(port: int) -> pulumi.Output[str]:
        """Waits for the schema: whoever reads it finds the login there."""
        made = app.current_password.apply(
            lambda password: login_url(
                user=stack.rotation.current, password=password, host=host, port=port, database=database.name
            )
        )
        return pulumi.Output.secret(pulumi.Output.all(made, schema.revision).apply(lambda both: both[0]))

    return outputs.StackOutputs(
        environment=stack.stack,
        target=stack.target,
        host=host,
        port=database.port,
        database=database.name,
        app_user=stack.rotation.current,
        schema_revision=schema.revision,
        max_connections=database.tuning.max_connections,
        pool_size=database.pool.size,
        pool_overflow=database.pool.overflow,
        max_instances=database.pool.max_instances,
        database_url=app_url(database.port),
        replicas={"standby": f"{host}:{database.standby_port}"} if standby else None,
        database_replica_url=app_url(database.standby_port) if standby else None,
    )


@dataclass(frozen=True, kw_only=True)
class _Server:
    """The server of a local target."""

    resource: pulumi.Resource
    identity: pulumi.Output[str]
    """Tells it from another one."""
    host: str
    start_timeout_s: int
    parameters: dict[str, str]
    """What a standby beside it has in common with it, as far as the stack gives it that."""
    container: pulumi.Output[str] | None = None
    standby_id: pulumi.Output[str] | None = None
    pair: dict[str, Any] | None = None
    """Where it and its standby live, if that is in containers."""


def _server(stack: settings.Settings, home: Path, password: pulumi.Output[str]) -> _Server:
    if stack.docker:
        return _container(stack, stack.docker, home, password)
    if not stack.embedded:
        raise pulumi.RunError(f"Pulumi.{stack.stack}.yaml: target: {stack.target} is no local target")
    from infra.local import postgres
    from infra.local.embedded import EmbeddedArgs, EmbeddedServer, parameters

    if not pulumi.runtime.is_dry_run():
        postgres.remember_home(CHECKOUT, home)
    server = EmbeddedServer(
        "postgres",
        EmbeddedArgs(home=home, database=stack.database, embedded=stack.embedded, password=password),
    )
    return _Server(
        resource=server,
        identity=server.identity,
        host=postgres.ADDRESS,
        start_timeout_s=stack.embedded.start_timeout_s,
        parameters=parameters(stack.database),
    )


def _container(stack: settings.Settings, docker: settings.Docker, home: Path, password: pulumi.Output[str]) -> _Server:
    from infra.local import contained, failover
    from infra.local.container import PostgresContainer, PostgresContainerArgs
    from infra.local.docker_engine import labels_of

    if failover.under_way(home):
        raise pulumi.RunError(f"stack {stack.stack} is {failover.UNDER_WAY}: run ./gaia failover to finish it")
    labels = labels_of(CHECKOUT, stack.stack)
    args = PostgresContainerArgs(labels=labels, home=home, database=stack.database, docker=docker, password=password)
    container = PostgresContainer("postgres", args)
    return _Server(
        resource=container,
        identity=container.container_id,
        host=docker.address,
        start_timeout_s=docker.start_timeout_s,
        parameters={"port": str(stack.database.port)},
        container=container.container_name,
        standby_id=container.standby_id,
        pair=contained.of_settings(home, docker, labels).to_note(),
    )


def _standby(stack: settings.Settings, home: Path, server: _Server, password: pulumi.Output[str]) -> pulumi.Resource:
    from infra.local.password import Password
    from infra.local.standby import Standby, StandbyArgs

    return Standby(
        "standby",
        StandbyArgs(
            server=server.identity,
            home=home,
            database=stack.database,
            start_timeout_s=server.start_timeout_s,
            password=password,
            replication_password=Password("replication-password").value,
            parameters=server.parameters,
            address=server.host,
            container=server.pair,
            standby=server.standby_id,
        ),
        opts=pulumi.ResourceOptions(depends_on=[server.resource]),
    )


@dataclass(frozen=True, kw_only=True)
class _Production:
    """What the rest of production stands on. The modules of ``infra.gcp`` are imported where they are used: they take
    the provider's package with them, which no local stack needs."""

    stack: settings.Settings
    gcp: Gcp
    place: Place
    apis: Apis
    network: Network
    instance: Instance
    replicas: dict[str, pulumi.Output[str]]
    access: Access
    endpoint: PscEndpoint | None

    @property
    def instances(self) -> list[str]:
        """The names of the primary and its replicas."""
        return [self.gcp.instance.name, *(f"{self.gcp.instance.name}-{name}" for name in sorted(self.gcp.replicas))]

    @property
    def host(self) -> pulumi.Output[str]:
        """Where the backend connects: Cloud Run's socket, the endpoint, or the public address."""
        if self.endpoint:
            return self.endpoint.address
        if self.gcp.network.mode == "public":
            return self.instance.primary.public_ip_address
        return self.instance.connection_name.apply(lambda name: f"/cloudsql/{name}")

    @property
    def private_ip(self) -> pulumi.Output[str] | None:
        if self.endpoint:
            return self.endpoint.address
        return self.instance.primary.private_ip_address if self.gcp.network.mode == "private" else None


def _gcp(stack: settings.Settings) -> outputs.StackOutputs:
    from infra.gcp.logins import Logins, LoginsArgs

    base = _production(stack)
    logins = Logins(
        "logins",
        LoginsArgs(
            place=base.place,
            database=stack.database.name,
            rotation=base.gcp.rotation,
            access=base.gcp.access,
            instance=base.instance,
        ),
    )
    secrets = _secrets(base, logins)
    revision = _jobs(base, logins, secrets)
    _exports(base, logins)
    _watch(base)
    return _contract(base, logins, secrets, revision)


def _production(stack: settings.Settings) -> _Production:
    from infra.gcp.access import Access, AccessArgs
    from infra.gcp.apis import Apis, ApisArgs, needed
    from infra.gcp.flags import database_flags
    from infra.gcp.instance import Instance, InstanceArgs
    from infra.gcp.network import Network, NetworkArgs
    from infra.gcp.place import Place
    from infra.gcp.replicas import Replicas, ReplicasArgs

    gcp = stack.gcp
    if gcp is None or gcp.project is None:
        raise pulumi.RunError(f"Pulumi.{stack.stack}.yaml: gcp.project: is missing")
    labels = {"app": "gaia", "stack": stack.stack, "managed-by": "pulumi"}
    protect = gcp.instance.deletion_protection
    place = Place(
        project=gcp.project, region=gcp.region, prefix=f"gaia-{stack.stack}-db", labels=labels, protect=protect
    )
    name, flags = gcp.instance.name, database_flags(gcp, stack.database.tuning)
    apis = Apis("apis", ApisArgs(place=place, names=needed(gcp)))
    network = Network("network", NetworkArgs(place=place, network=gcp.network, apis=apis))
    encryption = None
    if gcp.encryption.own_key:
        from infra.gcp.encryption import Encryption, EncryptionArgs

        days = gcp.encryption.rotation_days
        encryption = Encryption("encryption", EncryptionArgs(place=place, rotation_days=days, apis=apis))
    key, usable = (encryption.key, encryption.usable) if encryption else (None, [])
    instance = Instance(
        "instance", InstanceArgs(place=place, gcp=gcp, flags=flags, network=network, apis=apis, key=key, after=usable)
    )
    replicas = Replicas(
        "replicas", ReplicasArgs(place=place, gcp=gcp, flags=flags, network=network, instance=instance, key=key)
    )
    names = [name, *(f"{name}-{replica}" for replica in sorted(gcp.replicas))]
    endpoint = None
    if gcp.network.mode == "psc":
        from infra.gcp.psc import PscEndpoint, PscEndpointArgs

        endpoint = PscEndpoint(
            "psc",
            PscEndpointArgs(
                place=place,
                instance_name=name,
                subnetwork=gcp.network.subnetwork,
                instance=instance,
                network=network,
                apis=apis,
            ),
        )
    return _Production(
        stack=stack,
        gcp=gcp,
        place=place,
        apis=apis,
        network=network,
        instance=instance,
        replicas=replicas.connection_names,
        access=Access("access", AccessArgs(place=place, instances=names, access=gcp.access, apis=apis)),
        endpoint=endpoint,
    )


def _secrets(base: _Production, logins: Logins) -> Secrets:
    from infra.gcp.secrets import Secrets, SecretsArgs

    certificate = None
    if base.gcp.network.client_certificates:
        from infra.gcp.client_certificate import ClientCertificate, ClientCertificateArgs

        certificate = ClientCertificate(
            "client-certificate", ClientCertificateArgs(place=base.place, instance=base.instance)
        )
    values: dict[str, pulumi.Input[str]] = {
        "db-user": logins.current,
        "db-password": logins.current_password,
        "db-password-other": logins.other_password,
        "db-name": base.stack.database.name,
        "db-url": _app_url(base, logins, certificate),
        "db-identity-key": logins.identity_keys,
        "db-migrator-url": _migrator_url(base, logins),
    }
    if base.gcp.network.mode != "private":
        authorities = base.instance.primary.server_ca_certs
        values["db-server-ca"] = authorities.apply(lambda found: "\n".join(each.cert or "" for each in found))
    if certificate:
        values |= {"db-client-cert": certificate.certificate, "db-client-key": certificate.key}
    return Secrets(
        "secrets",
        SecretsArgs(
            place=base.place,
            values=values,
            jobs_at_address=base.gcp.network.mode == "psc",
            access=base.access,
            apis=base.apis,
        ),
    )


def _app_url(base: _Production, logins: Logins, certificate: ClientCertificate | None) -> pulumi.Output[str]:
    from infra.gcp.secrets import address_url, socket_url

    database, user = base.stack.database.name, logins.current
    if base.gcp.network.mode == "private":
        both = pulumi.Output.all(logins.current_password, base.instance.connection_name)
        return both.apply(
            lambda known: socket_url(user=user, password=known[0], database=database, connection_name=known[1])
        )
    return pulumi.Output.all(logins.current_password, base.host).apply(
        lambda known: address_url(
            user=user,
            password=known[0],
            database=database,
            host=known[1],
            client_certificate=certificate is not None,
        )
    )


def _migrator_url(base: _Production, logins: Logins) -> pulumi.Output[str]:
    """Through the socket, which also leads to a public address; Private Service Connect alone has none."""
    from infra.gcp.logins import MIGRATOR
    from infra.gcp.secrets import address_url, socket_url

    database = base.stack.database.name
    if base.endpoint:
        return pulumi.Output.all(logins.migrator_password, base.endpoint.address).apply(
            lambda known: address_url(user=MIGRATOR, password=known[0], database=database, host=known[1])
        )
    return pulumi.Output.all(logins.migrator_password, base.instance.connection_name).apply(
        lambda known: socket_url(user=MIGRATOR, password=known[0], database=database, connection_name=known[1])
    )


def _jobs(base: _Production, logins: Logins, secrets: Secrets) -> pulumi.Input[str]:
    """The jobs, and the revision that the database is at. Without an image there are none: the first ``up`` makes the
    repository that it is pushed to."""
    from infra.gcp.database_job import Reach
    from infra.gcp.maintenance_job import MaintenanceJob, MaintenanceJobArgs
    from infra.gcp.migration_job import MigrationJob, MigrationJobArgs
    from infra.gcp.registry import Registry, RegistryArgs
    from migrations.revisions import BASE, head

    registry = Registry("registry", RegistryArgs(place=base.place, apis=base.apis))
    image, access = base.gcp.migration_job.image, base.access
    if image is None:
        return BASE
    reach = Reach(
        place=base.place,
        settings=base.gcp.network,
        network=base.network,
        instance=base.instance,
        secrets=secrets,
    )
    after = [
        registry.repository,
        access.accounts["migrate"],
        *access.granted["migrate"],
        *secrets.readable("migrate"),
        *logins.ready,
        *(base.endpoint.ready if base.endpoint else []),
    ]
    migration = MigrationJob(
        "migration-job",
        MigrationJobArgs(
            reach=reach,
            image=image,
            job=base.gcp.migration_job,
            rotation=base.gcp.rotation,
            account=access.email("migrate"),
            app_login=logins.current,
            other_login=logins.other,
            iam_logins=logins.iam_logins,
            revision=head(),
            apis=base.apis,
            after=after,
        ),
    )
    retention = base.stack.database.retention
    MaintenanceJob(
        "maintenance-job",
        MaintenanceJobArgs(
            reach=reach,
            image=image,
            job=base.gcp.maintenance_job,
            chat_months=retention.chat_months,
            audit_months=retention.audit_months,
            access=access,
            apis=base.apis,
            # It has nothing to maintain before the first migration.
            after=[*after, migration.job],
        ),
    )
    return migration.revision


def _exports(base: _Production, logins: Logins) -> None:
    from infra.gcp.exports import Exports, ExportsArgs

    Exports(
        "exports",
        ExportsArgs(
            place=base.place,
            instance_name=base.gcp.instance.name,
            database=base.stack.database.name,
            exports=base.gcp.exports,
            instance=base.instance,
            access=base.access,
            apis=base.apis,
            after=logins.ready,
        ),
    )


def _watch(base: _Production) -> None:
    from infra.gcp import conditions
    from infra.gcp.alerts import Alerts, AlertsArgs
    from infra.gcp.dashboard import Dashboard, DashboardArgs

    place, apis, instances = base.place, base.apis, base.instances
    drills = base.gcp.access.drill_principal is not None
    watched = conditions.alerts(
        base.gcp.alerts,
        project=place.project,
        region=place.region,
        instances=instances,
        max_connections=base.stack.database.tuning.max_connections,
        drills=drills,
    )
    Alerts(
        "alerts",
        AlertsArgs(
            place=place, apis=apis, instances=instances, watched=watched, settings=base.gcp.alerts, drills=drills
        ),
    )
    Dashboard("dashboard", DashboardArgs(place=place, apis=apis, title=instances[0], watched=watched))


def _contract(base: _Production, logins: Logins, secrets: Secrets, revision: pulumi.Input[str]) -> outputs.StackOutputs:
    from infra.gcp.migration_job import NAME
    from infra.gcp.network import EGRESS

    stack, gcp, database = base.stack, base.gcp, base.stack.database
    image, network = gcp.migration_job.image, gcp.network
    inside, connector = network.mode != "public", base.network.connector
    direct = inside and connector is None
    return outputs.StackOutputs(
        environment=stack.stack,
        target=stack.target,
        project=base.place.project,
        region=base.place.region,
        instance_connection_name=base.instance.connection_name,
        host=base.host,
        port=database.port,
        private_ip=base.private_ip,
        database=database.name,
        app_user=logins.current,
        database_url_secret=secrets.references["db-url"],
        password_secret=secrets.references["db-password"],
        user_secret=secrets.references["db-user"],
        name_secret=secrets.references["db-name"],
        identity_key_secret=secrets.references["db-identity-key"],
        server_ca_secret=secrets.references.get("db-server-ca"),
        client_certificate_secret=secrets.references.get("db-client-cert"),
        client_key_secret=secrets.references.get("db-client-key"),
        runtime_service_account=base.access.accounts["backend"].email,
        migration_job=NAME if image else None,
        migration_image=image,
        schema_revision=revision,
        vpc_connector=connector.name if connector else None,
        vpc_egress=EGRESS if inside else None,
        vpc_network=network.network if direct else None,
        vpc_subnetwork=network.subnetwork if direct else None,
        max_connections=database.tuning.max_connections,
        pool_size=database.pool.size,
        pool_overflow=database.pool.overflow,
        max_instances=database.pool.max_instances,
        server_ca_mode=gcp.instance.server_ca,
        replicas=pulumi.Output.all(**base.replicas) if base.replicas else None,
    )
