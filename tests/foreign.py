"""Whatever a tenant may write: values for every field of a kind, as its definition describes it; and much of it."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import yaml
from hypothesis import strategies as st

from kube.client import Kube
from kube.resources import BTP_OPERATORS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from localcluster.controlplane import CHECKOUT
from models.names import (
    ABANDONED_REPORT,
    FINALIZER,
    FORCE_DELETE_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    OPERAND,
    OPERAND_FINALIZER,
    PREVENT_DELETION_ANNOTATION,
    REPORT_LABEL,
)

CRDS: Final = tuple(CHECKOUT / "chart" / chart / "crds" for chart in ("sap-btp-operator", "btp-manager"))
ORDERS: Final = (
    "\x1b]52;c;aGk=\x07",
    "\x1b[2J",
    "[/foo]",
    "[link=http://x]y[/link]",
    "\u202e",
    "\r\n",
    "`",
    "![a](http://x)",
)
"""Texts that terminals, rich or Markdown obey."""
PATHS: Final = ("a/b", "..", ".", "?", "a%2Fb", "../../victim/secrets/crown", "?limit=1&x=", "#", "x" * 300, "")
"""Names that are none, or would be another request if a path were made of them."""
BYSTANDERS: Final = ("crown", "mine", "sap-btp-manager", "sap-btp-service-operator")
"""Secrets that exist in some namespace and belong to no binding."""
WORDS: Final = ("CreateFailed", "Blocked", "Succeeded", "True", "victim", "kyma-system", "reference-instance")
TEXT: Final = st.text(max_size=40) | st.sampled_from([*ORDERS, *PATHS, *BYSTANDERS, *WORDS])
SOME: Final = TEXT.filter(bool)
KEYS: Final = st.sampled_from([*BYSTANDERS, "services.cloud.sap.com/hashedSpec", "kubectl.kubernetes.io/last-applied"])
FREE: Final = st.recursive(
    TEXT | st.integers(-(2**53), 2**53) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
LABELS: Final = st.dictionaries(
    st.sampled_from([MANAGED_BY_LABEL, "app.kubernetes.io/instance", FORCE_DELETE_LABEL, REPORT_LABEL]),
    st.sampled_from([MANAGED_BY, OPERAND, ABANDONED_REPORT, "true", "", "x" * 63]),
    max_size=3,
)
"""Labels by which we, or the chart, know something."""
FINALIZERS: Final = st.lists(
    st.sampled_from([OPERAND_FINALIZER, FINALIZER, f"example.com/{'x' * 60}", "kubernetes"]), max_size=3
)
OWNERS: Final = st.lists(
    st.fixed_dictionaries(
        {"apiVersion": st.just("v1"), "kind": st.just("Secret"), "name": SOME, "uid": SOME},
        optional={"controller": st.booleans(), "blockOwnerDeletion": st.booleans()},
    ),
    max_size=1,
)


def value_of(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Whatever that schema of OpenAPI takes, and a little more: the API server says no."""
    if "properties" in schema:
        fields = {name: value_of(field) for name, field in schema["properties"].items()}
        required = schema.get("required") or []
        return st.fixed_dictionaries(
            {name: fields[name] for name in required},
            optional={name: field for name, field in fields.items() if name not in required},
        )
    match schema.get("type"):
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(-(2**63), 2**63 - 1)
        case "array":
            return st.lists(value_of(schema["items"]), max_size=3)
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return st.dictionaries(TEXT, value_of(schema["additionalProperties"]), max_size=2)
        case "object":
            return st.dictionaries(TEXT, FREE, max_size=3)
        case "string" if schema.get("format") == "date-time":
            return st.just("2026-11-25T18:00:00Z")
        case "string" if schema.get("minLength"):
            return SOME
        case "string":
            return TEXT | st.sampled_from(schema.get("enum") or [""])
    return FREE


def objects(resource: Resource) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of a kind, without a name."""
    (file,) = [path for folder in CRDS for path in folder.glob(f"{resource.plural}.yaml")]
    definition = yaml.safe_load(file.read_text())
    (version,) = [each for each in definition["spec"]["versions"] if each["name"] == resource.version]
    schema = version["schema"]["openAPIV3Schema"]["properties"]
    protected = st.dictionaries(st.just(PREVENT_DELETION_ANNOTATION), st.sampled_from(["true", "no"]), max_size=1)
    meta = st.fixed_dictionaries(
        {"finalizers": FINALIZERS},
        optional={
            "labels": LABELS,
            "annotations": protected | st.dictionaries(KEYS, TEXT, max_size=1),
            "ownerReferences": OWNERS,
        },
    )
    return st.fixed_dictionaries(
        {"metadata": meta, "spec": value_of(schema["spec"])}, optional={"status": value_of(schema["status"])}
    )


SECRET: Final = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "labels": LABELS,
                "annotations": st.dictionaries(KEYS, TEXT, max_size=1),
                "finalizers": st.lists(st.sampled_from([OPERAND_FINALIZER, "example.com/theirs"]), max_size=2),
            },
        ),
        "type": st.sampled_from(["Opaque", "example.com/any", "bootstrap.kubernetes.io/token"]),
        "immutable": st.booleans(),
        "data": st.dictionaries(st.sampled_from(["clientid", "a.b", "-"]), st.sampled_from(["", "AAAA"]), max_size=2),
    },
)
"""Secrets of bindings, without a name and an owner."""
SERVICES: Final = st.one_of(
    *(st.tuples(st.just(each), objects(each), SECRET) for each in (SERVICE_INSTANCES, SERVICE_BINDINGS))
)
"""ServiceInstances and ServiceBindings of any shape, and the Secret that a binding may have."""


async def create_large_operators(kube: Kube, namespace: str, many: int) -> None:
    """BtpOperators with 310 KB of finalizers, and as much again in the API server's book of who wrote them."""
    room, label = asyncio.Semaphore(8), "x" * 60

    async def create(number: int) -> None:
        prefix = f"{label}.{label}.{label}.{label[:40]}.example.com"
        finalizers = [f"{prefix}/{number}-{each:04}-{'y' * 50}" for each in range(1_000)]
        meta = {"name": f"large-{number}", "namespace": namespace, "finalizers": finalizers}
        kind = {"apiVersion": BTP_OPERATORS.api_version, "kind": BTP_OPERATORS.kind}
        async with room:
            await kube.create(BTP_OPERATORS, {**kind, "metadata": meta})

    await asyncio.gather(*(create(number) for number in range(many)))
