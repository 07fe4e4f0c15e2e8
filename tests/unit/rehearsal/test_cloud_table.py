"""The docs' table of methods is the register's, and every method in the register is one of Google's."""

from __future__ import annotations

from pathlib import Path

import pulumi_gcp

from rehearsal.cloud import endpoints, rules, services, table
from rehearsal.cloud.discovery import HOSTS, document


def test_the_page_has_the_table_as_it_is_now() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    assert page == table.current(page), "run python -m rehearsal.cloud.table"


def google() -> set[str]:
    documents = (document(service, version) for service in HOSTS for version in table.VERSIONS.get(service, ("v1",)))
    return {method.id for each in documents if each for method in each.methods}


def test_every_method_that_is_answered_is_in_google_s_documents() -> None:
    assert services.registered().keys() <= google()


def test_every_rule_is_about_methods_in_google_s_documents() -> None:
    services.registered()
    assert {each for rule in rules.RULES.values() for each in rule.methods} <= google()


def test_a_method_says_what_is_not_so_where_it_is_only_checked() -> None:
    silent = [each.id for each in services.registered().values() if each.depth == "checked" and not each.note]
    assert silent == []


def test_every_endpoint_is_a_key_of_the_official_plugin_s_configuration() -> None:
    known = (Path(pulumi_gcp.__file__).parent / "config" / "vars.py").read_text(encoding="utf-8")
    keys = [key.removeprefix("gcp:") for key in endpoints.pulumi("http://127.0.0.1:1")]
    assert [key for key in keys if f"'{key}'" not in known] == []


def test_every_endpoint_leads_to_a_service() -> None:
    paths = [path.partition("/")[0] for path in endpoints.PLUGIN.values()]
    assert set(paths) == set(HOSTS)
