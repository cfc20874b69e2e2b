"""`make chaos`: every fault against every story, and the worker killed after each single write. Takes about 40 minutes.

Writes the table into docs/reliability.md; ends with status 1 if any story ended otherwise than undisturbed.
Arguments: `every=N` kills after each Nth write only; `away=S` how many seconds servers are away (60).
"""

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from localcluster.binaries import ensure_all
from localcluster.controlplane import CHECKOUT
from tests.chaos.away import ABSENCES, start_orders
from tests.chaos.faults import FAULTS
from tests.chaos.replicas import KILLED
from tests.chaos.stage import Outcome, Stage, stage
from tests.chaos.stories import PROVISION, STORIES, Story, tidy

PAGE = CHECKOUT / "docs" / "reliability.md"
TABLE = re.compile(r"(?<=<!-- chaos -->\n).*?(?=<!-- /chaos -->)", re.DOTALL)


@dataclass
class Report:
    """The rows of the table, and what went wrong."""

    rows: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, fault: str, story: str, outcome: str, seconds: str) -> None:
        self.rows.append(f"| {fault} | {story} | {outcome} | {seconds} |")
        print(self.rows[-1], flush=True)

    def judge(self, fault: str, story: Story, undisturbed: Outcome, outcome: Outcome) -> str:
        """Whether it ended as undisturbed, in a word."""
        if outcome.state == undisturbed.state and not outcome.failed:
            return "as undisturbed"
        self.wrong.append(f"{fault}, {story.name}: {outcome.failed} {outcome.state} instead of {undisturbed.state}")
        return "**otherwise**"


def one(scene: Stage, fault: str, story: Story, report: Report, play: Callable[[], Outcome]) -> None:
    """Play a story under a fault and add its row."""
    undisturbed = scene.undisturbed(story)
    try:
        outcome = play()
    except AssertionError as error:
        report.wrong.append(f"{fault}, {story.name}: {error}")
        report.add(fault, story.name, "**stuck**", "")
        scene.environment.proxy.clear()
        tidy(scene.scene)
        return
    said = report.judge(fault, story, undisturbed, outcome)
    report.add(fault, story.name, said, f"{outcome.seconds - undisturbed.seconds:+.1f}")


def crash_points(scene: Stage, story: Story, report: Report, every: int) -> None:
    """SIGKILL after the first, the second, ... write, until a run ends before it is hit."""
    undisturbed = scene.undisturbed(story)
    worst, where, kills, number = 0.0, "", 0, 1
    verdict = "as undisturbed"
    while True:
        outcome = scene.play(story, kill_after=number)
        if not outcome.killed:
            break
        kills += 1
        late = outcome.seconds - undisturbed.seconds
        print(f"  {story.name}, write {number}, {outcome.last_words}: {late:+.1f} s", flush=True)
        said = report.judge(f"killed after write {number} ({outcome.last_words})", story, undisturbed, outcome)
        verdict = said if said.startswith("**") else verdict
        if late > worst:
            worst, where = late, outcome.last_words
        number += every
    at = "each" if every == 1 else f"every {every}th"
    at_worst = re.sub(r"^(\w+) .*/", r"\1 .../", where)
    report.add(
        f"worker killed (SIGKILL) after {at} write, {kills} points",
        story.name,
        verdict,
        f"{worst:.1f} at worst (`{at_worst}`)",
    )


def main() -> int:
    options = dict(word.split("=") for word in sys.argv[1:])
    every, away = int(options.get("every", 1)), float(options.get("away", 60))
    ensure_all()
    began, report = time.monotonic(), Report()
    with stage() as scene:
        for story in STORIES:
            report.add("none", story.name, "", f"takes {scene.undisturbed(story).seconds:.1f} s in all")
            for name, faults in FAULTS.items():
                one(scene, name, story, report, partial(scene.play, story, faults))
            crash_points(scene, story, report, every)
        for name, absence in ABSENCES.items():
            late = absence(scene, away)
            report.add(f"{name} for {away:.0f} s", "a CR made meanwhile", "Ready", f"after the return: {late}")
    with stage(workers=3, triggers=2) as scene:
        for story in STORIES:
            for name, killing in KILLED.items():
                one(scene, name, story, report, partial(scene.play, story, meanwhile=killing))
    for name, late in start_orders():
        report.add(name, PROVISION.name, "Ready", f"after the last was there: {late}")
    write(report, time.monotonic() - began)
    print("\n".join(report.wrong) or "every story ended as undisturbed", flush=True)
    return 1 if report.wrong else 0


def write(report: Report, seconds: float) -> None:
    """Put the table where people read it."""
    head = "| fault | story | end state | seconds later than undisturbed |\n|---|---|---|---|\n"
    command = f'make chaos ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else "make chaos"
    made = f"\nMade by `{command}` in {seconds / 60:.0f} minutes on 2 cores.\n"
    page = PAGE.read_text()
    PAGE.write_text(TABLE.sub(lambda _: head + "\n".join(report.rows) + "\n" + made, page))


if __name__ == "__main__":
    sys.exit(main())
