"""Decides which CR is responsible for the operand, and marks it with our finalizer. At most one ever is."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from activities.edge import checked
from kube.client import Kube
from kube.errors import Conflict, NotFound
from kube.finalizers import taking_off
from kube.resources import BTP_OPERATORS
from models.conditions import REFUSED, Reason, ready_condition, status_after
from models.deprovision import DeletionAssessment, ReleaseKind
from models.limits import Bounds
from models.mandate import FinalizerRemoval, Mandate
from models.names import FINALIZER
from models.operators import Operator, OperatorRef, contenders, responsible
from models.provision import Assessment, Standing
from models.spares import older_exists
from models.status import Finding
from operand.credentials import read_credentials
from operand.operators import Operators
from operand.other_manager import other_manager


class ResponsibilityActivities:
    """Looks at all BtpOperators of the cluster."""

    def __init__(self, kube: Kube, bounds: Bounds | None = None, any_address: bool = False) -> None:
        """Args:
        bounds: what the worker's settings say about deletions.
        any_address: let Secret sap-btp-manager name http: for tests.
        """
        self._kube = kube
        self._operators = Operators(kube)
        self._any_address = any_address
        self._bounds = bounds

    @activity.defn
    @checked
    async def assess_operator(self, mandate: Mandate) -> Assessment:
        """How the CR stands, and whether what provisioning needs is there."""
        ref = mandate.ref
        operators = await self._operators.look()
        me = _find(ref, operators)
        if me is None:
            return Assessment(standing=Standing.GONE)
        reason = ready_condition(me.status).get("reason")
        known = Reason(reason) if reason in set(Reason) else None
        if me.deleting:
            return Assessment(standing=Standing.DELETING, claimed=me.holds_finalizer, reason=known)
        oldest = responsible(operators)
        assert oldest is not None
        if oldest.ref.uid != ref.uid:
            finding = older_exists(oldest)
            return Assessment(standing=Standing.SPARE, finding=finding, claimed=me.holds_finalizer, reason=known)
        other, credentials = await asyncio.gather(
            other_manager(self._kube), read_credentials(self._kube, self._any_address)
        )
        stops = credentials if isinstance(credentials, Finding) else None
        if other:
            stops = Finding(reason=Reason.OTHER_MANAGER_RUNS, message=_another_runs(other))
        return Assessment(
            standing=Standing.RESPONSIBLE,
            finding=stops,
            claimed=me.holds_finalizer,
            reason=known,
            ready_timeout=self._bounds.limits.ready_timeout if self._bounds else None,
        )

    @activity.defn
    @checked
    async def add_finalizer(self, mandate: Mandate) -> bool:
        """Put our finalizer on the responsible CR; False if it is not responsible after all.

        Two CRs of the same second could both see themselves first. So the claim holds only against the versions that
        were seen: contenders are told first, which changes them, and a contender's claim that was under way then fails.
        """
        operators = await self._operators.look()
        me = _find(mandate.ref, operators)
        if me is None or me.deleting or responsible(operators) != me:
            return False
        if me.holds_finalizer:
            return True
        for contender in contenders(me, operators):
            told = status_after(
                contender.status,
                Reason.OLDER_CR_EXISTS,
                older_exists(me).message,
                contender.generation,
                datetime.now(UTC),
            )
            if told is not None:
                await self._kube.merge(
                    BTP_OPERATORS,
                    contender.ref.name,
                    contender.ref.namespace,
                    {"metadata": {"resourceVersion": contender.resource_version}, "status": told},
                    subresource="status",
                )
        # Where it carries none, there is no list to add to.
        path, value = ("/metadata/finalizers/-", FINALIZER) if me.finalizers else ("/metadata/finalizers", [FINALIZER])
        # A version that is not the present one is a conflict; a test that does not hold would be an invalid request.
        version = {"op": "replace", "path": "/metadata/resourceVersion", "value": me.resource_version}
        await self._patch(me.ref, [version, {"op": "add", "path": path, "value": value}])
        return True

    @activity.defn
    @checked
    async def remove_finalizer(self, removal: FinalizerRemoval) -> bool:
        """Take our finalizer off a CR that is being deleted or not responsible. Others' finalizers stay.

        Returns whether ours stays: the CR may be responsible by now, for between the decision and this, hours may lie
        in which no worker was there. Then the operand would go unseen with it, or stay behind without a CR.
        """
        operators = await self._operators.look()
        me = _find(removal.ref, operators)
        if me is None or not me.holds_finalizer:
            return False
        if responsible(operators) == me and (removal.as_spare or not me.deleting):
            return True
        found = await self._kube.find(BTP_OPERATORS, removal.ref.name, removal.ref.namespace, metadata_only=True)
        meta = (found or {}).get("metadata") or {}
        if meta.get("uid") == removal.ref.uid and FINALIZER in (meta.get("finalizers") or []):
            await self._patch(removal.ref, taking_off(FINALIZER, meta))
        return False

    @activity.defn
    @checked
    async def assess_deletion(self, mandate: Mandate) -> DeletionAssessment:
        """What the CR's deletion asks for, and what earlier runs of it have decided.

        Only the responsible CR takes the operand with it.
        """
        operators = await self._operators.look()
        me = _find(mandate.ref, operators)
        if me is None:
            return DeletionAssessment(kind=ReleaseKind.GONE)
        if not me.deleting:
            return DeletionAssessment(kind=ReleaseKind.ALIVE)
        if not me.holds_finalizer or responsible(operators) != me:
            return DeletionAssessment(kind=ReleaseKind.LET_GO)
        return DeletionAssessment(
            kind=ReleaseKind.DEPROVISION,
            record=me.deletion,
            confirmed=me.force_delete,
            refused=ready_condition(me.status).get("reason") in REFUSED,
            aside=_another_runs(await other_manager(self._kube)),
            bounds=self._bounds,
        )

    async def _patch(self, ref: OperatorRef, operations: list[dict[str, Any]]) -> None:
        """Raises Conflict when the CR is not as it was seen; the retry looks again."""
        try:
            await self._kube.json_patch(BTP_OPERATORS, ref.name, ref.namespace, operations)
        except NotFound as error:
            raise Conflict(str(error), status=409) from error


def _another_runs(seen: str) -> str:
    """What a CR says while the Go manager runs, which one sees by `seen`; empty where nothing is seen."""
    means = "nothing is applied and nothing deleted until it is stopped, as docs/upgrade.md says"
    return f"the Go manager runs here ({seen}): {means}" if seen else ""


def _find(ref: OperatorRef, operators: list[Operator]) -> Operator | None:
    return next((operator for operator in operators if operator.ref.uid == ref.uid), None)
