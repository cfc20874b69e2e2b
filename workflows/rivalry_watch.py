"""What a run knows of those who keep changing fields of ours back: how long it waits for them, and when it is over."""

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models.durations import show_duration
    from models.provision import LONGEST_QUIET, Contest, Rivalry
    from models.text import code
    from workflows.provision_account import ProvisionAccount
    from workflows.waiting import until


class RivalryWatch:
    """Only a run remembers how often a field was changed back, so it stays a while after each time."""

    def __init__(self, known: Rivalry, account: ProvisionAccount) -> None:
        self.known = known
        self._account = account

    @property
    def named(self) -> str:
        """Who changes what, as the CR says it; empty while it may be chance."""
        return self.known.named

    def note(self, contested: list[Contest]) -> bool:
        """Take in what one apply met. True: there had been a rival to name, and there is none any more."""
        was_named = bool(self.named)
        self.known = self.known.after(contested, workflow.now())
        return was_named and not self.named

    async def pause(self) -> None:
        """Before the next write: the longer, the more often it was changed back."""
        if pause := self.known.pause:
            self._account.show(f"Waiting {show_duration(pause)} before the next write. {code(self.named)}")
            await workflow.sleep(pause)

    async def quiet(self, is_disturbed: Callable[[], bool]) -> bool:
        """Wait until nobody has changed anything back for a while; False if something else comes first."""
        if self.known.over_at is None:
            return True
        left = min(max(self.known.over_at - workflow.now(), timedelta(0)), LONGEST_QUIET)
        return not await until(is_disturbed, left)
