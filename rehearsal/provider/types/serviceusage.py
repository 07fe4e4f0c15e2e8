"""Google's APIs, switched on together, and the accounts that they act with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rehearsal.provider.batches import Batch
from rehearsal.provider.comparing import Change
from rehearsal.provider.protocol import UNKNOWN
from rehearsal.provider.resource import ProviderError, Resource
from rehearsal.provider.table import Properties, ResourceType

AT_ONCE = 20
"""The most that one call may enable."""


class Service(Resource):
    """An enabled API. Many are enabled by one call, and one list says which are."""

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        project, service = self.place("project", inputs), inputs["service"]
        enabling = self.account.share(f"enable {project}", lambda: Batch(lambda names: self._enable(project, names)))
        enabling.submit(service)
        return {"service": service}

    def get(self, known: Properties) -> Mapping[str, Any] | None:
        project = self.place("project", known)
        listing = self.account.share(f"list {project}", lambda: Batch(lambda names: self._listed(project, names), 0.01))
        return {"service": known["service"]} if listing.submit(known["service"]) else None

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        return {"service": state["service"]}

    def remove(self, state: Properties) -> None:
        if not state.get("disableOnDestroy"):
            return
        body: dict[str, Any] = {"checkIfServiceHasUsage": "SKIP"}
        if state.get("disableDependentServices"):
            body["disableDependentServices"] = True
        path = f"projects/{self.place('project', state)}/services/{state['service']}:disable"
        self._wait(self.call("POST", path, body=body))

    def id_of(self, state: Properties) -> str:
        return f"{self.place('project', state)}/{state['service']}"

    def _enable(self, project: str, names: Sequence[str]) -> Sequence[None]:
        there = self._enabled(project)
        missing = [name for name in names if name not in there]
        for start in range(0, len(missing), AT_ONCE):
            part = missing[start : start + AT_ONCE]
            # The API refuses a batch of one.
            if len(part) == 1:
                answer = self.call("POST", f"projects/{project}/services/{part[0]}:enable", body={})
            else:
                answer = self.call("POST", f"projects/{project}/services:batchEnable", body={"serviceIds": part})
            self._wait(answer)
        if missing:
            self.poll(lambda: {"enabled": self._enabled(project)}, lambda found: set(missing) <= set(found["enabled"]))
        return [None] * len(names)

    def _listed(self, project: str, names: Sequence[str]) -> Sequence[bool]:
        there = self._enabled(project)
        return [name in there for name in names]

    def _enabled(self, project: str) -> set[str]:
        query = {"filter": "state:ENABLED", "pageSize": "200", "fields": "services/name,nextPageToken"}
        found: set[str] = set()
        while True:
            page = self.call("GET", f"projects/{project}/services", query)
            found |= {each["name"].rsplit("/", 1)[1] for each in page.get("services", [])}
            if not page.get("nextPageToken"):
                return found
            query["pageToken"] = page["nextPageToken"]

    def _wait(self, operation: Mapping[str, Any]) -> Mapping[str, Any]:
        # The provider asks the beta API for operations, whichever one began them.
        return wait_in_beta(self, operation)


class Identity(Resource):
    """The account that an API acts with in the project; it is made on request, and never deleted."""

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        path = f"../v1beta1/projects/{self.place('project', inputs)}/services/{inputs['service']}"
        operation = self.call("POST", f"{path}:generateServiceIdentity")
        return {**inputs, **wait_in_beta(self, operation)}

    def get(self, known: Properties) -> Mapping[str, Any]:
        return known

    def remove(self, state: Properties) -> None:
        pass

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        email = answer.get("email")
        return {"member": f"serviceAccount:{email}"} if email else {}


def wait_in_beta(resource: Resource, operation: Mapping[str, Any]) -> Mapping[str, Any]:
    """The operation's response, asked from the version that has operations."""
    answer = operation
    if not answer.get("done"):
        path = f"../v1beta1/{operation['name']}"
        answer = resource.poll(lambda: resource.call("GET", path), lambda found: bool(found.get("done")))
    if error := answer.get("error"):
        raise ProviderError(f"Error code {error.get('code')}, message: {error.get('message')}")
    return answer.get("response") or {}


def _domain(inputs: Properties) -> tuple[str, str] | None:
    value = inputs.get("service")
    if not isinstance(value, str) or value == UNKNOWN:
        return None
    if "." not in value:
        return "service", f"expected {value} to be a domain like serviceusage.googleapis.com"
    if value == "bigquery-json.googleapis.com":
        return "service", f"expected service to not match any of [{value}], got {value}"
    return None


TYPES = (
    ResourceType(
        token="gcp:projects/service:Service",
        service="serviceUsage",
        collection="",
        item="",
        id="{project}/{service}",
        source="recorded: list of the enabled, one batchEnable, the operation in v1beta1, the list again",
        local=frozenset(
            {
                "project",
                "deletionPolicy",
                "disableOnDestroy",
                "disableDependentServices",
                "checkIfServiceHasUsageOnDestroy",
            }
        ),
        replaces=frozenset({"project", "service"}),
        checks=(_domain,),
        behaviour=Service,
    ),
    ResourceType(
        token="gcp:projects/serviceIdentity:ServiceIdentity",
        service="serviceUsage",
        collection="",
        item="",
        id="projects/{project}/services/{service}",
        source="https://cloud.google.com/service-usage/docs/reference/rest/v1beta1/services/generateServiceIdentity",
        local=frozenset({"project"}),
        replaces=frozenset({"project", "service"}),
        behaviour=Identity,
    ),
)
