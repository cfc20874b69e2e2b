"""`make screenshots`: what a person sees in Temporal's UI, photographed in headless Chromium, for docs/.

Needs `chromium` on PATH. The pictures are looked at by people; nothing tests them.
"""

import asyncio
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, cast

from playwright.sync_api import Browser, FloatRect, sync_playwright
from temporalio.client import Client as Temporal

from localcluster.binaries import ensure_all
from localcluster.client import Person
from localcluster.controlplane import CHECKOUT
from localcluster.demo import Story, use
from localcluster.environment import Environment
from localcluster.servicemanager import ServiceManager
from models.names import KYMA_NAMESPACE

PICTURES: Final = CHECKOUT / "docs" / "pictures"
QUIET: Final = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


UNFOLDED: Final = ".cm-editor, .cm-scroller, [class*='max-h-'] { max-height: none !important; height: auto !important }"


def photograph(browser: Browser, url: str, name: str, height: int) -> None:
    """Give the page, which never stops polling, some seconds to draw itself, and keep so much of it below its tabs."""
    page = browser.new_page(viewport={"width": 1250, "height": 2000})
    page.goto(url)
    page.add_style_tag(content=UNFOLDED)
    page.wait_for_timeout(5000)
    main, tabs = page.locator("main").bounding_box(), page.get_by_text("Event History").first.bounding_box()
    assert main and tabs
    box = {"x": main["x"], "y": tabs["y"] - 8, "width": main["width"], "height": height}
    page.screenshot(path=PICTURES / name, clip=cast(FloatRect, box))
    page.close()
    print(f"docs/pictures/{name}")


async def run_id(environment: Environment, uid: str) -> str:
    """The latest run of the CR's workflow."""
    client = await Temporal.connect(environment.temporal.address)
    handle = client.get_workflow_handle(f"btpoperator/{KYMA_NAMESPACE}/btpoperator/{uid}")
    return (await handle.describe()).run_id


def main() -> int:
    if not shutil.which("chromium"):
        print("screenshots: chromium is not on PATH; install it", file=sys.stderr)
        return 2
    ensure_all()
    PICTURES.mkdir(exist_ok=True)
    with (
        ServiceManager() as sap,
        Environment({"BTP_HARD_DELETE_TIMEOUT": "110s"}) as environment,
        sync_playwright() as playwright,
        ThreadPoolExecutor(1) as identities,  # playwright has an event loop of its own in this thread
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        person = Person(environment.cluster)
        story, ui = Story(person), f"http://127.0.0.1:{environment.temporal.ui_port}/namespaces/default/workflows"
        person.put_secret(sap.credentials())
        person.create_operator("btpoperator")
        story.expect("btpoperator", "Ready", "ReconcileSucceeded")
        person.create_operator("another")
        story.expect("another", "Error", "OlderCRExists")
        operand = environment.start_operand()
        use(story, person, sap)
        operand.kill()
        path = f"/apis/operator.kyma-project.io/v1alpha1/namespaces/{KYMA_NAMESPACE}/btpoperators/btpoperator"
        uid = (person.get(path) or {})["metadata"]["uid"]
        workflow = f"{ui}/btpoperator%2F{KYMA_NAMESPACE}%2Fbtpoperator%2F{uid}"
        person.delete_operator("btpoperator")
        time.sleep(70)  # the second attempt runs, and the first one's failure is shown
        running = f"{workflow}/{identities.submit(asyncio.run, run_id(environment, uid)).result()}"
        photograph(browser, f"{running}/pending-activities", "hard-delete-running.png", 640)
        photograph(browser, f"{running}/user-metadata", "hard-delete-details.png", 480)
        story.expect_gone("btpoperator")
        photograph(browser, running, "soft-delete-finished.png", 1000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
