"""Cloud SQL's users, databases and certificates."""

from __future__ import annotations

import hashlib
from typing import Any

from rehearsal.cloud.call import Call, method
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.rules.sqladmin import INSTANCES
from rehearsal.cloud.sql_instances import SELF, Document, name_on, operation, refused, servers
from rehearsal.cloud.state import now
from rehearsal.sql import inside
from rehearsal.sql.running import Instance

_CERTIFICATES = "sqladmin.sslCerts"


# Users.


@method("sql.users.insert", permission="cloudsql.users.create", on=name_on, note="an IAM user can't log in")
def insert_user(call: Call) -> Document:
    server, body = _server(call), call.body
    name, kind = body.get("name", ""), body.get("type", inside.BUILT_IN)
    _check_password(call, name, body.get("password"))

    def work() -> None:
        inside.make_user(server, name, kind=kind, password=body.get("password"), roles=body.get("databaseRoles") or ())

    return operation(call, "CREATE_USER", call.path["instance"], work)


@method("sql.users.update", permission="cloudsql.users.update", on=name_on)
def update_user(call: Call) -> Document:
    server, name = _server(call), call.query.get("name") or call.body.get("name", "")
    password = call.body.get("password")
    _check_password(call, name, password)
    roles = call.query.get("databaseRoles") or call.body.get("databaseRoles") or ()
    revoke = bool(call.query.get("revokeExistingRoles"))

    def work() -> None:
        inside.change_user(server, name, password=password, roles=roles, revoke=revoke)

    return operation(call, "UPDATE_USER", call.path["instance"], work)


@method("sql.users.delete", permission="cloudsql.users.delete", on=name_on)
def delete_user(call: Call) -> Document:
    server, name = _server(call), call.query.get("name", "")
    # Google looks before it begins: the refusal is the answer itself (kernelci/kcidb#407).
    refused(lambda: inside.drop_user(server, name))
    return operation(call, "DELETE_USER", call.path["instance"], lambda: None)


@method("sql.users.list", permission="cloudsql.users.list", on=name_on)
def list_users(call: Call) -> Document:
    found = refused(lambda: inside.users(_server(call)))
    return {"kind": "sql#usersList", "items": [_user(call, each) for each in found]}


@method("sql.users.get", permission="cloudsql.users.get", on=name_on)
def get_user(call: Call) -> Document:
    found = refused(lambda: inside.users(_server(call)))
    for each in found:
        if each.name == call.path["name"]:
            return _user(call, each)
    raise GoogleError(404, f"User {call.path['name']} does not exist.", reason="userDoesNotExist")


def _user(call: Call, user: inside.User) -> Document:
    document: Document = {
        "kind": "sql#user",
        "etag": _etag(user.name, *user.roles),
        "name": user.name,
        "host": "",
        "instance": call.path["instance"],
        "project": call.cloud.project,
    }
    if user.kind == inside.BUILT_IN:
        document["passwordPolicy"] = {"status": {}}
    else:
        document["type"] = user.kind
    if user.roles and user.name != "postgres":
        document["databaseRoles"] = list(user.roles)
    return document


def _check_password(call: Call, name: str, password: str | None) -> None:
    """The instance's policy: https://cloud.google.com/sql/docs/postgres/built-in-authentication (words ours)."""
    policy = _document(call)["settings"].get("passwordValidationPolicy") or {}
    if password is None or not policy.get("enablePasswordPolicy"):
        return
    fault = None
    if len(password) < int(policy.get("minLength") or 0):
        fault = f"it must have at least {policy['minLength']} characters"
    elif policy.get("disallowUsernameSubstring") and name.lower() in password.lower():
        fault = "it must not contain the user name"
    elif policy.get("complexity") == "COMPLEXITY_DEFAULT" and not _complex(password):
        fault = "it must contain a lowercase letter, an uppercase letter, a digit and a non-alphanumeric character"
    if fault:
        raise GoogleError(400, f"Invalid request: The password doesn't meet the instance's policy: {fault}.")


def _complex(password: str) -> bool:
    kinds = (str.islower, str.isupper, str.isdigit, lambda sign: not sign.isalnum())
    return all(any(kind(sign) for sign in password) for kind in kinds)


# Databases.


@method("sql.databases.insert", permission="cloudsql.databases.create", on=name_on, note="collated as C")
def insert_database(call: Call) -> Document:
    server, body = _server(call), call.body
    charset, collation = body.get("charset") or "UTF8", body.get("collation") or inside.DEFAULT_COLLATION

    def work() -> None:
        inside.make_database(server, body.get("name", ""), charset=charset, collation=collation)
        if note := inside.localised(collation):
            behind = servers(call.cloud)
            behind.notes += [note] if note not in behind.notes else []

    return operation(call, "CREATE_DATABASE", call.path["instance"], work)


@method("sql.databases.delete", permission="cloudsql.databases.delete", on=name_on)
def delete_database(call: Call) -> Document:
    refused(lambda: inside.drop_database(_server(call), call.path["database"]))
    return operation(call, "DELETE_DATABASE", call.path["instance"], lambda: None)


@method("sql.databases.patch", "sql.databases.update", permission="cloudsql.databases.update", on=name_on)
def update_database(call: Call) -> Document:
    found = _database(call)
    wanted = call.body.get("charset", found.charset), call.body.get("collation", found.collation)
    if wanted != (found.charset, found.collation):
        raise GoogleError(400, "Invalid request: The charset and collation of a PostgreSQL database can't be changed.")
    return operation(call, "UPDATE_DATABASE", call.path["instance"], lambda: None)


@method("sql.databases.get", permission="cloudsql.databases.get", on=name_on)
def get_database(call: Call) -> Document:
    return _shown(call, _database(call))


@method("sql.databases.list", permission="cloudsql.databases.list", on=name_on)
def list_databases(call: Call) -> Document:
    found = refused(lambda: inside.databases(_server(call)))
    return {"kind": "sql#databasesList", "items": [_shown(call, each) for each in found]}


def _database(call: Call) -> inside.Database:
    for each in refused(lambda: inside.databases(_server(call))):
        if each.name == call.path["database"]:
            return each
    raise GoogleError(404, "The database does not exist.", reason="databaseDoesNotExist")


def _shown(call: Call, database: inside.Database) -> Document:
    where = f"projects/{call.cloud.project}/instances/{call.path['instance']}/databases/{database.name}"
    return {
        "kind": "sql#database",
        "charset": database.charset,
        "collation": database.collation,
        "name": database.name,
        "instance": call.path["instance"],
        "selfLink": f"{SELF[call.method.version]}/{where}",
        "project": call.cloud.project,
        "etag": _etag(database.name, database.charset, database.collation),
    }


# Certificates of clients.


@method(
    "sql.sslCerts.insert",
    permission="cloudsql.sslCerts.create",
    on=name_on,
    depth="checked",
    note="in form alone: this PostgreSQL has no TLS",
)
def insert_certificate(call: Call) -> Document:
    name, instance = call.body.get("commonName", ""), call.path["instance"]
    fingerprint = hashlib.sha1(f"{instance}/{name}/{now()}".encode(), usedforsecurity=False).hexdigest()
    certificate = {
        "kind": "sql#sslCert",
        "certSerialNumber": str(call.cloud.next_number()),
        "cert": f"-----BEGIN CERTIFICATE-----\n{fingerprint}\n-----END CERTIFICATE-----",
        "createTime": now(),
        "commonName": name,
        "expirationTime": f"{int(now()[:4]) + 10}{now()[4:]}",
        "sha1Fingerprint": fingerprint,
        "instance": instance,
    }
    with call.cloud.lock:
        call.cloud.collection(_CERTIFICATES)[f"{instance}/{fingerprint}"] = certificate
    key = f"-----BEGIN RSA PRIVATE KEY-----\n{fingerprint[::-1]}\n-----END RSA PRIVATE KEY-----"
    return {
        "kind": "sql#sslCertsInsert",
        "operation": operation(call, "CREATE_SSL_CERT", instance, lambda: None),
        "serverCaCert": _document(call)["serverCaCert"],
        "clientCert": {"certInfo": certificate, "certPrivateKey": key},
    }


@method("sql.sslCerts.get", permission="cloudsql.sslCerts.get", on=name_on, depth="checked", note="in form alone")
def get_certificate(call: Call) -> Document:
    with call.cloud.lock:
        found = call.cloud.collection(_CERTIFICATES).get(f"{call.path['instance']}/{call.path['sha1Fingerprint']}")
    if found is None:
        raise GoogleError(404, "The SSL certificate does not exist.", reason="sslCertDoesNotExist")
    return found


@method("sql.sslCerts.list", permission="cloudsql.sslCerts.list", on=name_on, depth="checked", note="in form alone")
def list_certificates(call: Call) -> Document:
    with call.cloud.lock:
        inside_ = list(call.cloud.collection(_CERTIFICATES).values())
    return {
        "kind": "sql#sslCertsList",
        "items": [each for each in inside_ if each["instance"] == call.path["instance"]],
    }


@method("sql.sslCerts.delete", permission="cloudsql.sslCerts.delete", on=name_on, depth="checked", note="in form alone")
def delete_certificate(call: Call) -> Document:
    get_certificate(call)
    with call.cloud.lock:
        del call.cloud.collection(_CERTIFICATES)[f"{call.path['instance']}/{call.path['sha1Fingerprint']}"]
    return operation(call, "DELETE_SSL_CERT", call.path["instance"], lambda: None)


def _document(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        return call.cloud.collection(INSTANCES)[call.path["instance"]]


def _server(call: Call) -> Instance:
    """Raises GoogleError where it isn't running."""
    behind = servers(call.cloud)
    name = call.path["instance"]
    if name not in behind.instances or not behind.instances[name].runs:
        # The words of hashicorp/terraform-provider-google#8218.
        raise GoogleError(400, "Invalid request: Invalid request since instance is not running.", reason="invalid")
    return behind[name]


def _etag(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()
