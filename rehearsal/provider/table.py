"""What the provider knows about one resource type: where it lives in Google's API, and how its inputs get there."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rehearsal.provider.resource import Resource

Properties = dict[str, Any]
Check = Callable[[Properties], "str | tuple[str, str] | None"]
"""Looks at the inputs together; says what is wrong, or the path and what is wrong there."""
Forced = Callable[[Properties, Properties], "str | None"]
"""Looks at state and inputs; says why this change makes the resource anew, or is none."""


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """One row of the table. Paths are Pulumi's names with dots; lists have no index in them."""

    token: str
    """Such as ``gcp:sql/user:User``."""
    service: str
    """The endpoint: the name before ``CustomEndpoint`` in the provider's configuration."""
    collection: str
    """The path in the service, with inputs in braces: ``projects/{project}/secrets``."""
    item: str
    """The path of one resource; also what reads, changes and deletes it."""
    id: str
    """The resource's id in the engine's state, and what an import is given."""
    source: str
    """Where all of this comes from: the provider's documentation or the recordings."""
    create_query: Mapping[str, str] = field(default_factory=dict[str, str])
    update: str = "PATCH"
    """The verb of an update; empty where every change makes the resource anew."""
    mask: str = ""
    """How an update says what it changes: ``query`` (updateMask), ``body``, or not at all."""
    rename: Mapping[str, str] = field(default_factory=dict[str, str])
    """The field of an input where its name differs, dots leading deeper. ``x{}``: the API has one where Pulumi has a
    list; ``x[]``: the API has a list where Pulumi has one; ``x{id}``: a map by it; ``x'``: a number in text."""
    local: frozenset[str] = frozenset()
    """Inputs that aren't sent: they are in the path, or tell the provider itself what to do."""
    write_only: frozenset[str] = frozenset()
    """Inputs that the API never shows again."""
    unmodelled: frozenset[str] = frozenset()
    """Inputs that the official provider takes and this one refuses, saying so."""
    sends_empty: frozenset[str] = frozenset()
    """Inputs sent even when they are 0, false or empty."""
    fixed: frozenset[str] = frozenset()
    """Sent when the resource is made, never in an update."""
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the provider itself sends where nobody says otherwise."""
    kept: frozenset[str] = frozenset()
    """Nested inputs that stay as the cloud has them where nobody gives them."""
    replaces: frozenset[str] = frozenset()
    """Inputs whose change makes the resource anew (documentation: "Changing this forces a new resource")."""
    forced: tuple[Forced, ...] = ()
    """Changes that make it anew by a rule of the provider's own."""
    suppressed: Mapping[str, Forced] = field(default_factory=dict[str, Forced])
    """Changes at a path that are none, by a rule of the provider's own: says why."""
    unordered: frozenset[str] = frozenset()
    """Lists whose order means nothing."""
    ignore_case: frozenset[str] = frozenset()
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """The words that an input may be, where the SDK's documentation doesn't list them in the generator's way."""
    free: frozenset[str] = frozenset()
    """Inputs whose words the SDK documents, but the provider doesn't check."""
    checks: tuple[Check, ...] = ()
    operation: str = ""
    """The shape of the long-running operation that a change answers: ``google``, ``compute`` or ``sql``."""
    protected: str = ""
    """The sentence with which a deletion is refused while ``deletionProtection`` is true."""
    protected_by_default: bool = False
    behaviour: type[Resource] | None = None
    """Where the generic calls don't suffice."""
    timeout_s: float = 2400

    @functools.cached_property
    def shape(self) -> dict[str, Any]:
        """What the SDK knows about the type: ``in``, ``out``, ``kept`` and ``secret``."""
        return _shapes(self.token.split(":")[1].split("/")[0])[self.token]

    @functools.cached_property
    def inputs(self) -> dict[str, Any]:
        return {name.removesuffix("!"): shape for name, shape in self.shape["in"].items()}

    @functools.cached_property
    def outputs(self) -> dict[str, Any]:
        return self.shape["out"]

    @property
    def labelled(self) -> bool:
        """Whether Pulumi puts a label of its own on it."""
        return "effectiveLabels" in self.outputs

    def keeps(self, path: str) -> bool:
        # Without a policy there is the one by default: that is a change, nothing to keep.
        if path == "deletionPolicy":
            return False
        return path in self.kept or path in self.shape["kept"]

    def replacing(self, path: str) -> bool:
        """Whether a change at this path, or of anything that holds it, makes the resource anew."""
        parts = path.split(".")
        return any(".".join(parts[:count]) in self.replaces for count in range(1, len(parts) + 1))


IAM_REPLACES = frozenset({"role", "member", "condition"})
"""Every input of a member: a grant isn't changed, it is taken away and given anew."""


@functools.cache
def _shapes(service: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "shapes" / f"{service}.json").read_text(encoding="utf-8"))


def members(shape: Mapping[str, Any]) -> Mapping[str, Any]:
    """The shapes in an object by their plain names."""
    return {name.removesuffix("!"): one for name, one in shape.items()}


def is_map(shape: Any) -> bool:
    return isinstance(shape, dict) and "*" in shape


def is_object(shape: Any) -> bool:
    return isinstance(shape, dict) and "*" not in shape
