"""Decides which CR is responsible for the operand, and marks it with our finalizer. At most one ever is."""

from datetime import UTC, datetime

from temporalio import activity

from kube.client import Kube
from kube.errors import Conflict, NotFound
from kube.resources import BTP_OPERATORS
from models.conditions import Reason, ready_condition, status_after
from models.deprovision import ReleaseKind
from models.names import FINALIZER
from models.operators import Operator, OperatorRef, responsible, rivals
from models.provision import Assessment, Standing
from models.status import Finding
from operand.credentials import read_credentials


class ResponsibilityActivities:
    """Looks at all BtpOperators of the cluster."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    async def assess(self, ref: OperatorRef) -> Assessment:
        """How the CR stands, and whether what provisioning needs is there."""
        operators = await self._operators()
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
        credentials = await read_credentials(self._kube)
        return Assessment(
            standing=Standing.RESPONSIBLE,
            finding=credentials if isinstance(credentials, Finding) else None,
            claimed=me.holds_finalizer,
            reason=known,
        )

    @activity.defn
    async def claim(self, ref: OperatorRef) -> bool:
        """Put our finalizer on the responsible CR; False if it is not responsible after all.

        Two CRs of the same second could both see themselves first. So the claim holds only against the versions that
        were seen: rivals are told first, which changes them, and a rival's claim that was under way then fails.
        """
        operators = await self._operators()
        me = _find(ref, operators)
        if me is None or me.deleting or responsible(operators) != me:
            return False
        if me.holds_finalizer:
            return True
        for rival in rivals(me, operators):
            told = status_after(
                rival.status, Reason.OLDER_CR_EXISTS, older_exists(me).message, rival.generation, datetime.now(UTC)
            )
            if told is not None:
                await self._kube.merge(
                    BTP_OPERATORS,
                    rival.ref.name,
                    rival.ref.namespace,
                    {"metadata": {"resourceVersion": rival.resource_version}, "status": told},
                    subresource="status",
                )
        await self._set_finalizers(me, [*me.finalizers, FINALIZER])
        return True

    @activity.defn
    async def disclaim(self, ref: OperatorRef) -> None:
        """Take our finalizer off a CR that is not, or no longer, responsible. Others' finalizers stay."""
        me = _find(ref, await self._operators())
        if me is not None and me.holds_finalizer:
            await self._set_finalizers(me, [name for name in me.finalizers if name != FINALIZER])

    @activity.defn
    async def release_kind(self, ref: OperatorRef) -> ReleaseKind:
        """What the CR's deletion asks for: only the responsible one takes the operand with it."""
        operators = await self._operators()
        me = _find(ref, operators)
        if me is None:
            return ReleaseKind.GONE
        if not me.deleting:
            return ReleaseKind.ALIVE
        if not me.holds_finalizer or responsible(operators) != me:
            return ReleaseKind.LET_GO
        return ReleaseKind.DEPROVISION

    async def _operators(self) -> list[Operator]:
        listing = await self._kube.list(BTP_OPERATORS)
        return [Operator.from_object(obj) for obj in listing.items]

    async def _set_finalizers(self, operator: Operator, finalizers: list[str]) -> None:
        """Raises Conflict when the CR is not the one that was seen; the retry looks at all CRs again."""
        try:
            await self._kube.merge(
                BTP_OPERATORS,
                operator.ref.name,
                operator.ref.namespace,
                {"metadata": {"resourceVersion": operator.resource_version, "finalizers": finalizers}},
            )
        except NotFound as error:
            raise Conflict(str(error), status=409) from error


def older_exists(oldest: Operator) -> Finding:
    """What a spare CR says: which one is responsible, and since when."""
    since = oldest.created.strftime("%Y-%m-%dT%H:%M:%SZ")
    deleting = ", being deleted" if oldest.deleting else ""
    return Finding(
        reason=Reason.OLDER_CR_EXISTS,
        message=f"BtpOperator {oldest.ref} (since {since}{deleting}) is responsible for the operand; "
        "this one takes over if it is the oldest when that one is gone",
    )


def _find(ref: OperatorRef, operators: list[Operator]) -> Operator | None:
    return next((operator for operator in operators if operator.ref.uid == ref.uid), None)
