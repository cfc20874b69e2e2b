"""The pages of a process, asked by many at once."""

import asyncio

import aiohttp

from localcluster.processes import free_port
from runtime.pages import pages
from runtime.telemetry import SdkTelemetry


class Counted(SdkTelemetry):
    """The SDK's metrics, counted, and slow."""

    def __init__(self) -> None:
        self.asked = 0

    async def metrics(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(0.2)
        return b"asked %d\n" % self.asked


async def test_many_who_ask_for_metrics_at_once_share_an_answer_that_is_not_older_than_their_question() -> None:
    sdk, port = Counted(), free_port()
    address = f"127.0.0.1:{port}"
    async with pages("", address, str, str, sdk), aiohttp.ClientSession() as session:

        async def ask() -> str:
            async with session.get(f"http://{address}/metrics") as answer:
                assert answer.status == 200
                return await answer.text()

        answers = await asyncio.gather(*(ask() for _ in range(100)))
        assert sdk.asked <= 3 and all("asked " in answer for answer in answers)
        before = sdk.asked
        assert f"asked {before + 1}" in await ask()
