"""Deletes in SAP BTP, through Service Manager, what a soft delete has abandoned: the only code that speaks to SAP.

The credentials are read at the beginning of each round and go no further. An Event on ConfigMap sap-btp-abandoned and a
metric count each outcome once the report says it.
"""

from functools import partial
from typing import Final

import structlog
from prometheus_client import Counter
from temporalio import activity

from activities.edge import checked
from activities.progress import heartbeating
from kube.client import Kube
from kube.resources import SECRETS
from models.mandate import Mandate
from models.names import ABANDONED_CONFIGMAP, KYMA_NAMESPACE, RECLAIM_SECRET
from models.reclaim import LEAVES_THE_REPORT, Outcome, ReclaimConsent, ReclaimEnd, Round, RoundInput, Told
from operand.events import record_event
from operand.reclaim import ReclaimRound
from operand.reclaim_credentials import (
    Unusable,
    is_of_the_operands_subaccount,
    is_still_wanted,
    known_cluster,
    read_reclaim_credentials,
)
from operand.service_manager import connected

NAMED: Final = 3
RECLAIMED: Final = Counter("btp_reclaim", "What became of abandoned service objects", ("kind", "outcome"))
SAID: Final = {
    Outcome.RECLAIMED: "deleted in SAP BTP",
    Outcome.ABSENT: "not in SAP BTP any more",
    Outcome.IN_USE: "in use again",
    Outcome.PROTECTED: "left alone",
    Outcome.NOT_OURS: "left alone",
    Outcome.REFUSED: "refused by Service Manager",
    Outcome.UNDER_WAY: "being deleted in SAP BTP",
    Outcome.WAITING: "not deleted yet",
}
log = structlog.get_logger(__name__)


class ReclaimActivities:
    """What ReclaimWorkflow needs, and what a deletion has to know to start one.

    Args:
        any_address: let the Secret name http and addresses that are not on the internet: for tests.
    """

    def __init__(self, kube: Kube, any_address: bool = False) -> None:
        self._kube = kube
        self._any_address = any_address

    @activity.defn
    @checked
    async def check_consent(self, input: Mandate) -> ReclaimConsent:
        """Whether what the CR's deletion abandons may be reclaimed, and of which cluster it is.

        Asked while the operand's own settings are still there. The Secret's values are not looked at.
        """
        there = await self._kube.find(SECRETS, RECLAIM_SECRET, KYMA_NAMESPACE, metadata_only=True)
        if there is None:
            return ReclaimConsent(given=False)
        return ReclaimConsent(given=True, cluster_digest=await known_cluster(self._kube))

    @activity.defn
    @checked
    async def reclaim_round(self, input: RoundInput) -> Round:
        """Go through the report once. While the API server does not answer, nothing is deleted."""
        async with heartbeating() as progress:
            try:
                digest = await self._checked_digest(input)
                credentials = await read_reclaim_credentials(self._kube, self._any_address)
                proven = input.proven or await is_of_the_operands_subaccount(self._kube, credentials)
                async with connected(credentials) as sap:
                    reclaiming = ReclaimRound(
                        self._kube,
                        sap,
                        cr=input.ref.uid if input.ref else "",
                        cluster_digest=digest,
                        proven=proven,
                        only_show=input.only_show,
                        wanted=partial(is_still_wanted, self._kube, credentials),
                        say=progress.say,
                        stored=self._tell,
                    )
                    return await reclaiming.run(input.at_most.total_seconds())
            except Unusable as error:
                return Round(trouble=str(error))

    @activity.defn
    @checked
    async def end_reclaim(self, input: ReclaimEnd) -> None:
        """Record how a reclaim has ended."""
        reason = "ReclaimIncomplete" if input.left else "ReclaimComplete"
        await self._record(reason, input.message, warning=bool(input.left))

    async def _checked_digest(self, input: RoundInput) -> str:
        """Of the cluster's id in SAP BTP: what the deletion noted, and what there is today, must not differ.

        Raises:
            Unusable: they do, or nobody knows it.
        """
        known = await known_cluster(self._kube)
        if input.cluster_digest and known and known != input.cluster_digest:
            raise Unusable("the cluster has another id in SAP BTP (cluster_id) than when the objects were abandoned")
        if not (input.cluster_digest or known):
            raise Unusable("the cluster's id in SAP BTP is not known; Secret sap-btp-manager has it (cluster_id)")
        return input.cluster_digest or known

    async def _tell(self, outcomes: list[Told]) -> None:
        for told in outcomes:
            RECLAIMED.labels(told.kind, told.outcome.value).inc()
        for outcome in sorted({told.outcome for told in outcomes}):
            some = [told for told in outcomes if told.outcome is outcome]
            log.info("reclaim", outcome=outcome.value, objects=[f"{told.kind} {told.sap_id}" for told in some[:100]])
            names = ", ".join(f"{told.kind} {told.namespace}/{told.name}" for told in some[:NAMED])
            more = f" and {len(some) - NAMED} more" if len(some) > NAMED else ""
            why = f": {some[0].why}" if some[0].why else ""
            reason = "Reclaim" + outcome.value.title().replace(" ", "")
            await self._record(reason, f"{names}{more} {SAID[outcome]}{why}", outcome not in LEAVES_THE_REPORT)

    async def _record(self, reason: str, message: str, warning: bool) -> None:
        about = {"apiVersion": "v1", "kind": "ConfigMap", "name": ABANDONED_CONFIGMAP, "namespace": KYMA_NAMESPACE}
        await record_event(self._kube, about, reason, message, warning)
