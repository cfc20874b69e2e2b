"""Follows everything a BtpOperator depends on and says which CRs should be looked at."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from kube.client import Kube
from kube.reflector import Change, Reflector, Source
from kube.resources import BTP_OPERATORS, CHART_KINDS, CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PRIORITY_CLASSES, SECRETS
from models.names import (
    ABANDONED_REPORT,
    CREDENTIALS_SECRET,
    KYMA_NAMESPACE,
    MANAGED_SECRETS,
    MANAGED_SELECTOR,
    REPORT_LABEL,
    WEBHOOK_CERT_SECRET,
)
from models.operators import Operator, OperatorRef, responsible
from models.spares import is_settled_spare
from trigger.digests import ChartDigest, OperatorDigest, PresenceDigest, ReportDigest
from trigger.metrics import WatchMetrics
from trigger.nudges import Nudges

DEAD_AFTER: Final = 600.0
"""Seconds in which the API server says nothing, bookmarks included, after which the process asks to be restarted."""


def sources() -> list[Source]:
    """What is followed, apart from the CRs themselves."""
    prerequisites = [
        _secret(CREDENTIALS_SECRET, PresenceDigest.of),
        Source(NAMESPACES, PresenceDigest.of, fields=f"metadata.name={KYMA_NAMESPACE}"),
        Source(PRIORITY_CLASSES, PresenceDigest.of),
    ]
    # Secrets are followed one by one: a list of a namespace's Secrets would be a right to read them all. Kubernetes
    # cannot grant metadata only, and the one with a private key is none of the trigger's business: pods that run keep
    # what they mounted, one that cannot mount it makes the Deployment unavailable, and the rest the resync finds.
    secrets = [_secret(name, ChartDigest.of) for name in MANAGED_SECRETS if name != WEBHOOK_CERT_SECRET]
    chart = [
        Source(
            kind,
            ChartDigest.of,
            # Only a Deployment's availability needs more than metadata.
            metadata_only=kind is not DEPLOYMENTS,
            namespace=KYMA_NAMESPACE if kind.namespaced else None,
            labels=MANAGED_SELECTOR,
        )
        for kind in CHART_KINDS
        if kind is not SECRETS
    ]
    return prerequisites + secrets + chart


def _secret(name: str, digest: Callable[[Any], Any]) -> Source:
    return Source(SECRETS, digest, KYMA_NAMESPACE, fields=f"metadata.name={name}")


class Watcher:
    """All reflectors together, and the mapping from a change to the CRs it concerns."""

    def __init__(self, kube: Kube, nudges: Nudges) -> None:
        self._nudges = nudges
        # Whole objects: their metadata does not say which state they have.
        self._operators = Reflector(kube, Source(BTP_OPERATORS, OperatorDigest.of, metadata_only=False))
        self._report = Reflector(
            kube, Source(CONFIG_MAPS, ReportDigest.of, KYMA_NAMESPACE, labels=f"{REPORT_LABEL}={ABANDONED_REPORT}")
        )
        self._oldest: Operator | None = None
        """Of the CRs that are known, as long as only new ones come."""
        self._others = [*(Reflector(kube, source) for source in sources()), self._report]

    def metrics(self) -> WatchMetrics:
        return WatchMetrics(self._operators, self._report, self._others)

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in (self._operators, *self._others):
                tasks.create_task(self._follow(reflector))

    def deleting(self, ref: OperatorRef) -> bool | None:
        """Whether a CR is being deleted; None if it is gone."""
        digest: OperatorDigest | None = self._operators.known.get((ref.namespace, ref.name))
        return digest.deleting if digest is not None and digest.uid == ref.uid else None

    def unsynced(self) -> str:
        """What is not being followed right now; empty when all is well."""
        away = [r.source.resource.kind for r in (self._operators, *self._others) if not r.synced]
        return f"not following {', '.join(sorted(set(away)))}" if away else ""

    def silent(self) -> str:
        """Which kinds nothing was heard of for too long; empty when all is well."""
        now = time.monotonic()
        dead = []
        for reflector in (self._operators, *self._others):
            age = now - reflector.heard
            # A server that refuses to talk is trouble of its own, and restarting would not repair it.
            if age > DEAD_AFTER and not reflector.trouble:
                dead.append(reflector.source.resource.kind)
        return f"nothing heard of {', '.join(dead)}" if dead else ""

    async def _follow(self, reflector: Reflector) -> None:
        async for change in reflector.changes():
            for operator in self._concerned(change):
                self._nudges.add(operator.ref)

    def _concerned(self, change: Change) -> list[Operator]:
        """The CRs that a change concerns.

        A CR that is gone concerns the next-oldest, which takes over. The others stay spare; the resync corrects which
        CR they name. To look at all of them at the end of each would cost a square of their number.
        """
        if change.source is self._report.source:
            return []
        concerned: list[Operator] = []
        if change.source is self._operators.source:
            if self._is_settled_spare(change) or _is_our_claim(change):
                return []
            concerned = [change.after.operator] if change.after else []
            if change.before is not None and (change.after is None or _made_again(change)):
                concerned.append(change.before.operator)  # its run, which may be open, ends then
            elif concerned:
                return concerned
        elif isinstance(change.after, ChartDigest) and not change.after.is_news_after(change.before):
            return []
        # Before the first list of CRs is read there is nobody to tell; every CR is looked at right after it.
        oldest = responsible(self._known())
        return concerned + ([oldest] if oldest else [])

    def _is_settled_spare(self, change: Change) -> bool:
        """Whether a CR is seen for the first time and need not be looked at: most of many, when this process starts."""
        if change.before is not None or change.after is None:
            self._oldest = None
            return False
        new: OperatorDigest = change.after
        self._oldest = responsible([*([self._oldest] if self._oldest else self._known()), new.operator])
        condition = {"reason": new.reason, "message": new.waits_for}
        return self._oldest is not None and is_settled_spare(new.operator, condition, self._oldest)

    def _known(self) -> list[Operator]:
        return [digest.operator for digest in self._operators.known.values()]


def _is_our_claim(change: Change) -> bool:
    before: OperatorDigest | None = change.before
    after: OperatorDigest | None = change.after
    return before is not None and after is not None and after.is_only_claimed_after(before)


def _made_again(change: Change) -> bool:
    """Deleted and made again under the same name while nobody watched: one CR is gone and another has come."""
    before: Any = change.before
    return before is not None and before.uid != change.after.uid
