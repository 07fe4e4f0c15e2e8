"""One member of one role: read the policy, change it, write it with the etag of what was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rehearsal.provider.batches import Batch
from rehearsal.provider.comparing import Change
from rehearsal.provider.resource import GONE, ProviderError, Resource
from rehearsal.provider.rest import RestError
from rehearsal.provider.table import Properties

RACES = 10
"""How often another writer may be faster."""
RACED = (409, 412)
"""``IsConflictError``, on which terraform-provider-google's iam.go reads the policy anew and writes it again."""
Policy = dict[str, Any]


class Member(Resource):
    """An IAM member. The subclasses say how their policy is read and written."""

    batched: ClassVar[bool] = False
    """Whether several members of one policy go in one write; the others go one at a time."""

    def read_policy(self, known: Properties) -> Policy:
        return self.call("GET", f"{self.on(known)}:getIamPolicy", {"options.requestedPolicyVersion": "3"})

    def write_policy(self, known: Properties, policy: Policy) -> Policy:
        return self.call("POST", f"{self.on(known)}:setIamPolicy", body={"policy": policy})

    def on(self, known: Properties) -> str:
        """The path of what the policy belongs to."""
        return self.fill(self.kind.collection, known)

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        self._change(inputs, add=True)
        found = self.get(inputs)
        if found is None:
            raise ProviderError(f"the policy doesn't show {inputs['member']} with {inputs['role']} after it was set")
        return found

    def get(self, known: Properties) -> Mapping[str, Any] | None:
        policy = self._policy(known)
        binding = _binding(policy, known)
        if binding is None or known["member"].lower() not in (one.lower() for one in binding["members"]):
            return None
        return {**known, "condition": binding.get("condition"), "etag": policy.get("etag")}

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        raise ProviderError("a member can't be changed, only replaced")

    def remove(self, state: Properties) -> None:
        self._change(state, add=False)

    def id_of(self, state: Properties) -> str:
        title = (state.get("condition") or {}).get("title")
        return super().id_of(state) + (f"/{title}" if title else "")

    def _policy(self, known: Properties) -> Policy:
        if not self.batched:
            return self.read_policy(known)
        reads = self.account.share(f"read {self.on(known)}", lambda: Batch(self._read_once, 0.01))
        return reads.submit(known)

    def _read_once(self, all_known: Sequence[Properties]) -> Sequence[Policy]:
        return [self.read_policy(all_known[0])] * len(all_known)

    def _change(self, known: Properties, *, add: bool) -> None:
        key = f"policy {self.kind.service} {self.on(known)}"
        if self.batched:
            self.account.share(key, lambda: Batch(self._write_together)).submit((known, add))
        else:
            with self.account.lock(key):
                self._write([(known, add)])

    def _write_together(self, wanted: Sequence[tuple[Properties, bool]]) -> Sequence[Any]:
        try:
            self._write(wanted)
        except RestError as error:
            if error.status != 400 or len(wanted) == 1:
                raise
            # One of them is refused: each alone finds out which.
            return [self._alone(each) for each in wanted]
        return [None] * len(wanted)

    def _alone(self, one: tuple[Properties, bool]) -> Exception | None:
        try:
            self._write([one])
        except (RestError, ProviderError) as error:
            return error
        return None

    def _write(self, wanted: Sequence[tuple[Properties, bool]]) -> None:
        anyone = wanted[0][0]
        for tried in range(RACES):
            try:
                policy = self.read_policy(anyone)
            except RestError as error:
                if error.status == GONE and not any(add for _, add in wanted):
                    return
                raise
            try:
                self.write_policy(anyone, changed(policy, wanted))
                return
            except RestError as error:
                if error.status not in RACED or tried == RACES - 1:
                    raise
                self.account.rest.wait(0.05 * (tried + 1))


def changed(policy: Policy, wanted: Sequence[tuple[Properties, bool]]) -> Policy:
    """The policy to write: roles and members sorted; without a binding left, no bindings at all."""
    bindings: dict[str, dict[str, Any]] = {}
    for binding in policy.get("bindings", []):
        bindings[_key(binding)] = {**binding, "members": list(binding.get("members", []))}
    for known, add in wanted:
        named = {"role": known["role"], "members": [], **_condition(known)}
        members = bindings.setdefault(_key(named), named)["members"]
        kept = [one for one in members if one.lower() != known["member"].lower()]
        members[:] = [*kept, known["member"]] if add else kept
    left = [{**each, "members": sorted(each["members"])} for each in bindings.values() if each["members"]]
    left.sort(key=lambda each: (each["role"], _key(each)))
    return {**({"bindings": left} if left else {}), "etag": policy.get("etag"), "version": 3}


def _condition(known: Mapping[str, Any]) -> dict[str, Any]:
    return {"condition": known["condition"]} if known.get("condition") else {}


def _key(binding: Mapping[str, Any]) -> str:
    condition = binding.get("condition") or {}
    return "\n".join([binding["role"], *(str(condition.get(name, "")) for name in ("title", "expression"))])


def _binding(policy: Policy, known: Properties) -> dict[str, Any] | None:
    wanted = _key({"role": known["role"], **_condition(known)})
    return next((each for each in policy.get("bindings", []) if _key(each) == wanted), None)
