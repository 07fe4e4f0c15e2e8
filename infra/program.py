"""The Pulumi program: settings → components → outputs. The only place where they meet."""

from __future__ import annotations

from pathlib import Path

import pulumi

from infra import outputs, settings

CHECKOUT = Path(__file__).resolve().parent.parent


def deploy() -> None:
    """Declare the running stack. Raises ``pulumi.RunError``, one sentence a line, for what its file gets wrong."""
    try:
        loaded = settings.load()
    except settings.SettingsError as error:
        raise pulumi.RunError(str(error)) from None
    if loaded.settings.target == "gcp":
        raise pulumi.RunError(
            f"Pulumi.{loaded.settings.stack}.yaml: target: the resources of gcp are not declared yet; "
            "dev (docker) and local (embedded) are"
        )
    outputs.export(_local(loaded))


def _local(loaded: settings.Loaded) -> outputs.StackOutputs:
    from infra.local.password import IdentityKey, Password
    from infra.local.schema import APP_USER, Schema, SchemaArgs
    from migrations.connection import login_url

    stack, database = loaded.settings, loaded.settings.database
    superuser_password = Password("superuser-password", loaded.password)
    app_password = Password("app-password")
    identity_key = IdentityKey("identity-key")
    server, identity, host, container, start_timeout_s = _server(stack, superuser_password.value)
    schema = Schema(
        "schema",
        SchemaArgs(
            server=identity,
            host=host,
            port=database.port,
            database=database.name,
            superuser=database.user,
            password=superuser_password.value,
            app_password=app_password.value,
            identity_key=identity_key.value,
            retention=database.retention,
            start_timeout_s=start_timeout_s,
            container=container,
        ),
        opts=pulumi.ResourceOptions(depends_on=[server]),
    )
    app_url = app_password.value.apply(
        lambda password: login_url(
            user=APP_USER, password=password, host=host, port=database.port, database=database.name
        )
    )
    return outputs.StackOutputs(
        environment=stack.stack,
        target=stack.target,
        host=host,
        port=database.port,
        database=database.name,
        app_user=APP_USER,
        schema_revision=schema.revision,
        max_connections=database.tuning.max_connections,
        pool_size=database.pool.size,
        pool_overflow=database.pool.overflow,
        max_instances=database.pool.max_instances,
        # An output that waits for the schema: whoever reads it finds the login there.
        database_url=pulumi.Output.secret(pulumi.Output.all(app_url, schema.revision).apply(lambda both: both[0])),
    )


def _server(
    stack: settings.Settings, password: pulumi.Output[str]
) -> tuple[pulumi.Resource, pulumi.Output[str], str, pulumi.Output[str] | None, int]:
    """The server of a local target: the resource, what tells it from another, its address, its container, and how
    long it may take to start."""
    if stack.docker:
        from infra.local.container import PostgresContainer, PostgresContainerArgs
        from infra.local.docker_engine import labels_of

        labels = labels_of(CHECKOUT, stack.stack)
        args = PostgresContainerArgs(labels=labels, database=stack.database, docker=stack.docker, password=password)
        container = PostgresContainer("postgres", args)
        return (
            container,
            container.container_id,
            stack.docker.address,
            container.container_name,
            stack.docker.start_timeout_s,
        )
    if not stack.embedded:
        raise pulumi.RunError(f"Pulumi.{stack.stack}.yaml: target: {stack.target} is no local target")
    from infra.local import postgres
    from infra.local.embedded import EmbeddedArgs, EmbeddedServer

    home = postgres.home_for(CHECKOUT, stack.stack)
    if not pulumi.runtime.is_dry_run():
        postgres.remember_home(CHECKOUT, home)
    server = EmbeddedServer(
        "postgres",
        EmbeddedArgs(home=home, database=stack.database, embedded=stack.embedded, password=password),
    )
    return server, server.identity, postgres.ADDRESS, None, stack.embedded.start_timeout_s
