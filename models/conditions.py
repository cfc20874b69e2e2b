"""The state of a BtpOperator, its one condition `Ready`, and the rules by which they change.

`MEANING` is the single table of reasons; docs/conditions.md is checked against it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from models.text import plain

CONDITION_TYPE: Final = "Ready"
MAX_MESSAGE: Final = 4000
"""Characters kept of a condition's message; metav1.Condition allows 32,768, a person reads far fewer."""


class State(StrEnum):
    """`status.state` of a BtpOperator, as Kyma's module contract words it."""

    PROCESSING = "Processing"
    READY = "Ready"
    DELETING = "Deleting"
    ERROR = "Error"
    WARNING = "Warning"


class Reason(StrEnum):
    """Why `Ready` has its value. Public: alerts and scripts match these words."""

    INITIALIZED = "Initialized"
    PROCESSING = "Processing"
    RECONCILE_SUCCEEDED = "ReconcileSucceeded"
    OLDER_CR_EXISTS = "OlderCRExists"
    OTHER_MANAGER_RUNS = "AnotherManagerRuns"
    MISSING_SECRET = "MissingSecret"
    INVALID_SECRET = "InvalidSecret"
    MISSING_NAMESPACE = "MissingNamespace"
    MISSING_PRIORITY_CLASS = "MissingPriorityClass"
    CHART_INSTALL_FAILED = "ChartInstallFailed"
    PREPARING_INSTALL_INFO_FAILED = "PreparingInstallInfoFailed"
    PROVISIONING_FAILED = "ProvisioningFailed"
    NOT_CLEANED = "ServiceInstancesAndBindingsNotCleaned"
    HARD_DELETING = "HardDeleting"
    SOFT_DELETING = "SoftDeleting"
    RESOURCE_REMOVAL_FAILED = "ResourceRemovalFailed"


class Meaning(BaseModel):
    """What a reason says about the CR, and what its reader should do next."""

    model_config = ConfigDict(frozen=True)

    state: State
    ready: bool
    when: str
    advice: str


MEANING: Final[Mapping[Reason, Meaning]] = {
    Reason.INITIALIZED: Meaning(
        state=State.PROCESSING,
        ready=False,
        when="The CR was accepted as the responsible one and provisioning begins.",
        advice="Wait; the message says what happens.",
    ),
    Reason.PROCESSING: Meaning(
        state=State.PROCESSING,
        ready=False,
        when="The operand is being installed or repaired, it lost availability, or somebody keeps changing it back.",
        advice="Wait; the message names what is not ready yet and why, or who changes what back.",
    ),
    Reason.RECONCILE_SUCCEEDED: Meaning(
        state=State.READY,
        ready=True,
        when="Every chart resource is applied and ready.",
        advice="Nothing to do.",
    ),
    Reason.OLDER_CR_EXISTS: Meaning(
        state=State.ERROR,
        ready=False,
        when="Another, older BtpOperator is responsible for the operand.",
        advice="Delete this CR, or delete the one that the message names: the next-oldest takes over when it is gone.",
    ),
    Reason.OTHER_MANAGER_RUNS: Meaning(
        state=State.WARNING,
        ready=False,
        when="The Go manager runs in this cluster. Nothing is applied and nothing deleted while it does.",
        advice="Stop the Go manager as docs/upgrade.md says; this one goes on by itself within a minute.",
    ),
    Reason.MISSING_SECRET: Meaning(
        state=State.ERROR,
        ready=False,
        when="Secret kyma-system/sap-btp-manager does not exist.",
        advice="Create the Secret; provisioning goes on by itself.",
    ),
    Reason.INVALID_SECRET: Meaning(
        state=State.ERROR,
        ready=False,
        when="Secret kyma-system/sap-btp-manager lacks a required key or has an empty or unusable value.",
        advice="Complete every key that the message names; provisioning goes on by itself.",
    ),
    Reason.MISSING_NAMESPACE: Meaning(
        state=State.ERROR,
        ready=False,
        when="Namespace kyma-system does not exist or is being deleted.",
        advice="Create the namespace; provisioning goes on by itself.",
    ),
    Reason.MISSING_PRIORITY_CLASS: Meaning(
        state=State.ERROR,
        ready=False,
        when="The PriorityClass that the operand's pods name does not exist, so they could not be created.",
        advice="Create the PriorityClass, or name another one in the operand's values; provisioning goes on by itself.",
    ),
    Reason.PREPARING_INSTALL_INFO_FAILED: Meaning(
        state=State.ERROR,
        ready=False,
        when="The operand's chart could not be rendered, or does not use the values that the manager gives it.",
        advice="Fix the operand's values, or the chart at BTP_CHART_PATH, as the message says.",
    ),
    Reason.CHART_INSTALL_FAILED: Meaning(
        state=State.ERROR,
        ready=False,
        when="The API server refused an object of the chart.",
        advice="Fix what the message names: the object, and the API server's reason.",
    ),
    Reason.PROVISIONING_FAILED: Meaning(
        state=State.ERROR,
        ready=False,
        when="The chart is applied, but something in it was not ready within BTP_READY_TIMEOUT.",
        advice="Look at the object that the message names; its recovery, or the next resync, looks again.",
    ),
    Reason.NOT_CLEANED: Meaning(
        state=State.WARNING,
        ready=False,
        when="The CR is being deleted, service objects exist, and their deletion has not been confirmed.",
        advice='Delete the service objects, or confirm their deletion: label the CR with force-delete: "true".',
    ),
    Reason.HARD_DELETING: Meaning(
        state=State.DELETING,
        ready=False,
        when="ServiceBindings, then ServiceInstances are being deleted through the operand and SAP Service Manager.",
        advice="Wait, at most BTP_HARD_DELETE_TIMEOUT and a last attempt; the message says how many are left, names "
        "some, and says if the operand is not there or not available.",
    ),
    Reason.SOFT_DELETING: Meaning(
        state=State.DELETING,
        ready=False,
        when="Hard delete ran out of time, or a person ended it: finalizers are taken off and the objects deleted.",
        advice="Afterwards look at ConfigMap kyma-system/sap-btp-abandoned: what it lists may still exist in SAP BTP.",
    ),
    Reason.RESOURCE_REMOVAL_FAILED: Meaning(
        state=State.ERROR,
        ready=False,
        when="An object cannot be removed; retrying does not help.",
        advice="Fix what the message names; the next event or resync goes on from where the cluster stands.",
    ),
}


REFUSED: Final = frozenset({Reason.NOT_CLEANED, Reason.OTHER_MANAGER_RUNS})
"""What a CR says whose deletion needs a confirmation: it was refused, or asked for while the manager ran that refuses
it by default."""


def status_after(
    current: Mapping[str, Any] | None, reason: Reason, message: str, generation: int, now: datetime
) -> dict[str, Any] | None:
    """The status a CR has once `reason` holds, or None if it says so already.

    The transition time moves only when the condition's status flips, and `observedGeneration` is always set
    (Kubernetes API conventions, "Typical status properties"). An empty message is replaced by the reason's meaning.
    """
    meaning = MEANING[reason]
    text = plain(message, MAX_MESSAGE) or meaning.when
    before = ready_condition(current)
    flag = "True" if meaning.ready else "False"
    since = before.get("lastTransitionTime") if before.get("status") == flag else None
    condition = {
        "type": CONDITION_TYPE,
        "status": flag,
        "reason": reason.value,
        "message": text,
        "observedGeneration": generation,
        "lastTransitionTime": since or now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if before == condition and (current or {}).get("state") == meaning.state.value:
        return None
    return {"state": meaning.state.value, "conditions": [condition]}


def ready_condition(status: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The condition `Ready` in a status, or an empty mapping."""
    conditions = (status or {}).get("conditions") or []
    return next((c for c in conditions if c.get("type") == CONDITION_TYPE), {})
