"""Google's discovery documents: which method a request means, and whether its query and body are what it takes.

The documents come with ``google-api-python-client``; their form: https://developers.google.com/discovery/v1/reference/apis
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import unquote

from rehearsal.cloud.errors import GoogleError, invalid, not_found

HOSTS = {
    name: f"{name}.googleapis.com"
    for name in (
        "artifactregistry",
        "cloudkms",
        "cloudresourcemanager",
        "cloudscheduler",
        "compute",
        "dns",
        "iam",
        "iamcredentials",
        "logging",
        "monitoring",
        "run",
        "secretmanager",
        "servicenetworking",
        "serviceusage",
        "sqladmin",
        "storage",
        "vpcaccess",
    )
}
"""The host that each prefix stands for."""
_BASES = {"compute": "compute/", "dns": "dns/", "storage": "storage/"}
"""What stands before the version in the paths of a service; sqladmin has both ``sql/v1beta4`` and ``v1``."""
_UPLOAD = re.compile(r"(resumable/)?(upload|download)/")
_INTEGER = {"int32": 31, "uint32": 32, "int64": 63, "uint64": 64}
_PLACEHOLDER = re.compile(r"\{(\+?)([\w.]+)\}")
_SYSTEM = frozenset(
    {"$alt", "$fields", "$prettyPrint", "$userProject", "userProject", "alt", "provisionalUserProject", "upload_id"}
)
UNDOCUMENTED: dict[tuple[str, str], dict[str, Any]] = {
    # The official provider sends it with every network: Google takes it, its documents don't name it.
    ("compute", "NetworkRoutingConfig"): {"deleteBgpAlwaysCompareMed": {"type": "boolean"}},
}
"""Fields that are taken all the same, by service and schema."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method of one version of an API."""

    service: str
    version: str
    id: str
    verb: str
    path: str
    parameters: Mapping[str, Mapping[str, Any]]
    request: str | None
    response: str | None
    document: Document = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters of the path, in order."""
        return tuple(match[2] for match in _PLACEHOLDER.finditer(self.path))


@dataclass(frozen=True, kw_only=True)
class Document:
    """One version of an API."""

    service: str
    version: str
    title: str
    schemas: Mapping[str, Mapping[str, Any]]
    common: frozenset[str]
    """Parameters that every method takes."""
    methods: tuple[Method, ...] = ()
    buckets: dict[tuple[str, str, int], list[Method]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Match:
    method: Method
    path: dict[str, str]
    upload: bool
    """Whether the body is an object's content."""


def find(service: str, verb: str, raw_path: str) -> Match:
    """The method that this request means; ``raw_path`` is the path after the prefix, as it was sent, still quoted.

    Raises GoogleError 404.
    """
    upload = _UPLOAD.match(raw_path)
    path = raw_path[upload.end() :] if upload else raw_path
    if upload and verb == "PUT":  # the parts of an upload that a POST began
        verb = "POST"
    made = _document_of(service, path)
    if made is not None:
        rest = path.removeprefix(_prefix(service, made.version)).rstrip("/")
        for method in _candidates(made, verb, rest):
            if found := _pattern(method.path, _formats(method)).fullmatch(rest):
                values = {name: unquote(value) for name, value in zip(method.names, found.groups(), strict=True)}
                return Match(method=method, path=values, upload=upload is not None and upload[2] == "upload")
    raise not_found(f"The requested URL /{unquote(raw_path)} was not found on this server.")


@cache
def document(service: str, version: str) -> Document | None:
    """That version of that API, or None where the client's package hasn't got it."""
    folder = resources.files("googleapiclient.discovery_cache") / "documents"
    file = folder / f"{service}.{version}.json"
    if not file.is_file():
        return None
    read = json.loads(file.read_text(encoding="utf-8"))
    for (of_service, schema), more in UNDOCUMENTED.items():
        if of_service == service:
            read["schemas"][schema]["properties"] |= more
    made = Document(
        service=service,
        version=version,
        title=read.get("title", service),
        schemas=read["schemas"],
        common=frozenset(read["parameters"]),
    )
    base = read.get("servicePath", "") if service in _BASES else ""
    for spec in _walk(read):
        method = Method(
            service=service,
            version=version,
            id=spec["id"],
            verb=spec["httpMethod"],
            path=_relative(spec["path"], service, version, base),
            parameters=spec.get("parameters", {}),
            request=spec.get("request", {}).get("$ref"),
            response=spec.get("response", {}).get("$ref"),
            document=made,
        )
        _file_away(made, method)
    object.__setattr__(made, "methods", tuple(method for bucket in made.buckets.values() for method in bucket))
    return made


def _walk(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from part.get("methods", {}).values()
    for inner in part.get("resources", {}).values():
        yield from _walk(inner)


def _prefix(service: str, version: str) -> str:
    if service == "sqladmin" and version == "v1beta4":
        return "sql/v1beta4/"
    return f"{_BASES.get(service, '')}{version}/"


def _relative(path: str, service: str, version: str, base: str) -> str:
    """The path without what stands before and with the version."""
    return path if base else path.removeprefix(_prefix(service, version))


def _document_of(service: str, path: str) -> Document | None:
    if service not in HOSTS:
        return None
    rest = path.removeprefix("sql/") if service == "sqladmin" else path.removeprefix(_BASES.get(service, ""))
    version = rest.split("/", 1)[0]
    return document(service, version) if re.fullmatch(r"v[0-9]\w*|beta|alpha", version) else None


def _key(verb: str, path: str, *, many: bool) -> tuple[str, str, int]:
    """Where to look: verb, custom verb (``:enable``) and number of parts, 0 where a parameter may hold slashes."""
    last = path.rpartition("/")[2]
    custom = last.rpartition(":")[2] if ":" in last else ""
    return verb, custom, 0 if many else path.count("/") + 1


def _file_away(made: Document, method: Method) -> None:
    many = "{+" in method.path
    key = _key(method.verb, _PLACEHOLDER.sub("x", method.path), many=many)
    made.buckets.setdefault(key, []).append(method)


def _formats(method: Method) -> tuple[str, ...]:
    """What each parameter of the path looks like, by Google's documents."""
    return tuple(method.parameters.get(name, {}).get("pattern", "") for name in method.names)


@cache
def _pattern(path: str, formats: tuple[str, ...]) -> re.Pattern[str]:
    parts, last = [], 0
    for match, wanted in zip(_PLACEHOLDER.finditer(path), formats, strict=True):
        parts.append(re.escape(path[last : match.start()]))
        anywhere = wanted.startswith("^") and match[1]
        inner = wanted.removeprefix("^").removesuffix("$").replace("[^/]+", "[^/:]+") if anywhere else "[^/]+"
        parts.append(f"({_without_groups(inner)})")
        last = match.end()
    return re.compile("".join([*parts, re.escape(path[last:])]))


def _without_groups(pattern: str) -> str:
    return re.sub(r"(?<!\\)\((?!\?)", "(?:", pattern)


def _candidates(made: Document, verb: str, rest: str) -> Iterator[Method]:
    yield from made.buckets.get(_key(verb, rest, many=False), ())
    yield from made.buckets.get(_key(verb, rest, many=True), ())
    if ":" in rest.rpartition("/")[2]:  # a colon that is part of a name
        yield from made.buckets.get((verb, "", rest.count("/") + 1), ())
        yield from made.buckets.get((verb, "", 0), ())


# What a method takes.


def checked_query(method: Method, sent: list[tuple[str, str]]) -> dict[str, Any]:
    """The query as values of the right type. Raises GoogleError 400."""
    known = {name: spec for name, spec in method.parameters.items() if spec.get("location") == "query"}
    values: dict[str, Any] = {}
    for name, text in sent:
        given = name if name in known else _camel(name)
        if given not in known:
            if name in method.document.common or name in _SYSTEM or name.startswith("$"):
                continue
            message = (
                f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
                f"Field '{name}' could not be found in request message."
            )
            raise invalid(message, field="")
        spec = known[given]
        value = _query_value(given, text, spec)
        if spec.get("repeated"):
            values.setdefault(given, []).append(value)
        else:
            values[given] = value
    for name, spec in known.items():
        if spec.get("required") and name not in values:
            raise GoogleError(400, f"Required parameter: {name}", reason="required")
    return values


def _query_value(name: str, text: str, spec: Mapping[str, Any]) -> Any:
    if spec["type"] == "boolean":
        if text.lower() not in ("true", "false", ""):
            raise invalid(f"Invalid value at '{name}' (TYPE_BOOL), \"{text}\"", field=name)
        return text.lower() == "true"
    if spec["type"] == "integer" or spec.get("format") in ("int64", "uint64"):
        if not re.fullmatch(r"-?[0-9]+", text):
            raise invalid(f"Invalid value at '{name}' (TYPE_{_type_name(spec)}), \"{text}\"", field=name)
        return int(text)
    if "enum" in spec and text and text not in spec["enum"]:
        raise invalid(f"Invalid value at '{name}' ({_type_name(spec)}), \"{text}\"", field=name)
    return text


def checked_body(method: Method, body: Any) -> dict[str, Any]:
    """The body with the names as the documents write them. Raises GoogleError 400 in Google's words."""
    if method.request is None:
        if body:
            raise invalid(
                f'Invalid JSON payload received. Unknown name "{next(iter(body), "")}": Cannot find field.', field=""
            )
        return {}
    if body is None:
        return {}
    return _object(method.document, method.document.schemas[method.request], body, "")


def _object(document: Document, schema: Mapping[str, Any], value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(f"Invalid value at '{at}' (type.googleapis.com/google.protobuf.Struct), {_said(value)}", field=at)
    properties, more = schema.get("properties", {}), schema.get("additionalProperties")
    made: dict[str, Any] = {}
    for name, inner in value.items():
        known = name if name in properties else _camel(name)
        here = f"{at}.{_snake(known)}" if at else _snake(known)
        if known in properties:
            made[known] = _value(document, properties[known], inner, here)
        elif more is not None:
            made[name] = _value(document, more, inner, f"{at}[{len(made)}].value")
        else:
            where = f" at '{at}'" if at else ""
            raise invalid(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.', field=at)
    return made


def _value(document: Document, schema: Mapping[str, Any], value: Any, at: str) -> Any:
    if value is None:
        return None
    if "$ref" in schema:
        return _object(document, document.schemas[schema["$ref"]], value, at)
    kind = schema.get("type", "any")
    if kind == "array":
        if not isinstance(value, list):
            raise invalid(f"Invalid value at '{at}' (TYPE_MESSAGE), {_said(value)}", field=at)
        return [_value(document, schema["items"], each, f"{at}[{index}]") for index, each in enumerate(value)]
    if kind == "object":
        return _object(document, schema, value, at) if _described(schema) else value
    if kind != "any":
        _scalar(schema, kind, value, at)
    return value


def _described(schema: Mapping[str, Any]) -> bool:
    return "properties" in schema or "additionalProperties" in schema


def _scalar(schema: Mapping[str, Any], kind: str, value: Any, at: str) -> None:
    form = schema.get("format", "")
    if kind == "boolean":
        right = isinstance(value, bool)
    elif kind == "integer" or form in ("int64", "uint64"):
        right = _is_integer(value, form)
    elif kind == "number":
        right = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        right = isinstance(value, str) and _fits(schema, form, value)
    if not right:
        raise invalid(f"Invalid value at '{at}' ({_type_name(schema)}), {_said(value)}", field=at)


def _is_integer(value: Any, form: str) -> bool:
    """Proto JSON takes integers as numbers and as text: https://protobuf.dev/programming-guides/json/"""
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]+", str(value)):
        return False
    return abs(int(value)) <= 2 ** _INTEGER.get(form, 63)


def _fits(schema: Mapping[str, Any], form: str, value: str) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    if form == "byte":
        try:
            base64.b64decode(value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4), validate=True)
        except binascii.Error:
            return False
    if form == "google-duration":
        return bool(re.fullmatch(r"-?[0-9]+(\.[0-9]{1,9})?s", value))
    if form == "google-datetime":
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", value))
    return True


def _type_name(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "type.googleapis.com/enum"
    form, kind = schema.get("format", ""), schema.get("type", "string")
    if form in ("int32", "int64", "uint32", "uint64"):
        return f"TYPE_{form.upper()}"
    if form == "google-duration":
        return "type.googleapis.com/google.protobuf.Duration"
    if form == "google-datetime":
        return "type.googleapis.com/google.protobuf.Timestamp"
    names = {"boolean": "TYPE_BOOL", "integer": "TYPE_INT32", "number": "TYPE_DOUBLE"}
    return "TYPE_BYTES" if form == "byte" else names.get(kind, "TYPE_STRING")


def _said(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, dict | list) else "Starting an object on a scalar field"


def _camel(name: str) -> str:
    """``repository_id`` as ``repositoryId``: Google takes both."""
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", name)
