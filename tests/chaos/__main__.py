"""`make chaos`: every fault against every story, and the worker killed after each single write. Takes over an hour.

Writes each part's table into docs/reliability.md; ends with status 1 if any story ended otherwise than undisturbed.
Arguments: `parts=requests,kills` plays only these of requests, kills, absences, replicas, starts, pairs, budgets,
temporal and reclaims, and leaves the tables of the others as they are; `every=N` kills after each Nth write only;
`away=S` how many seconds servers are away (60).
"""

import itertools
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from localcluster.binaries import ensure_all
from localcluster.controlplane import CHECKOUT
from tests.chaos.away import ABSENCES, start_orders
from tests.chaos.budgets import LONGER_THAN_BUDGETS, longer_than_budget
from tests.chaos.degraded import LASTING, ONE_OF_TWO, TEMPORAL, emptied, one_of_two
from tests.chaos.faults import FAULTS
from tests.chaos.reclaims import TROUBLES, reclaim_stage, tell
from tests.chaos.replicas import KILLED
from tests.chaos.stage import Outcome, Stage, stage
from tests.chaos.stories import BUDGET, PROVISION, STORIES, Story, tidy

PAGE = CHECKOUT / "docs" / "reliability.md"
HEAD = "| fault | story | end state | seconds later than undisturbed |\n|---|---|---|---|\n"


@dataclass
class Options:
    every: int
    away: float


@dataclass
class Report:
    """The rows of one part's table, and what went wrong."""

    rows: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, fault: str, story: str, outcome: str, seconds: str) -> None:
        self.rows.append(f"| {fault} | {story} | {outcome} | {seconds} |")
        print(self.rows[-1], flush=True)

    def judge(self, fault: str, story: str, undisturbed: Outcome, outcome: Outcome) -> str:
        """Whether it ended as undisturbed, in a word."""
        if outcome.state == undisturbed.state and not outcome.failed and not outcome.untrue:
            return "as undisturbed"
        said = f"{outcome.failed} {outcome.untrue} {outcome.state} instead of {undisturbed.state}"
        self.wrong.append(f"{fault}, {story}: {said}")
        return "**otherwise**"


def one(scene: Stage, fault: str, story: Story, report: Report, play: Callable[[], Outcome]) -> None:
    """Play a story under a fault and add its row."""
    undisturbed = scene.undisturbed(story)
    try:
        outcome = play()
    except AssertionError as error:
        report.wrong.append(f"{fault}, {story.name}: {error}")
        report.add(fault, story.name, "**otherwise**", "")
        recover(scene)
        return
    said = report.judge(fault, story.name, undisturbed, outcome)
    report.add(fault, story.name, said, f"{outcome.seconds - undisturbed.seconds:+.1f}")


def recover(scene: Stage) -> None:
    """After a story that was not played to its end."""
    scene.environment.proxy.clear()
    scene.revive()
    tidy(scene.scene)


def requests(report: Report, options: Options) -> None:
    with stage() as scene:
        for story in STORIES:
            report.add("none", story.name, "", f"takes {scene.undisturbed(story).seconds:.1f} s in all")
            for name, faults in FAULTS.items():
                one(scene, name, story, report, partial(scene.play, story, faults))


def kills(report: Report, options: Options) -> None:
    with stage() as scene:
        for story in STORIES:
            crash_points(scene, story, report, options.every)


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
        said = report.judge(f"killed after write {number} ({outcome.last_words})", story.name, undisturbed, outcome)
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


def absences(report: Report, options: Options) -> None:
    with stage() as scene:
        for name, absence in ABSENCES.items():
            late = absence(scene, options.away)
            report.add(f"{name} for {options.away:.0f} s", "a CR made meanwhile", "Ready", f"after the return: {late}")


def replicas(report: Report, options: Options) -> None:
    with stage(workers=3, triggers=2) as scene:
        for story in STORIES:
            for name, killing in KILLED.items():
                one(scene, name, story, report, partial(scene.play, story, meanwhile=killing))


def starts(report: Report, options: Options) -> None:
    for name, late in start_orders():
        report.add(name, PROVISION.name, "Ready", f"after the last was there: {late}")


def pairs(report: Report, options: Options) -> None:
    with stage(workers=2, lines=True) as scene:
        for name, trouble in ONE_OF_TWO.items():
            for story in STORIES:
                one(scene, name, story, report, partial(one_of_two, scene, story, trouble))


def budgets(report: Report, options: Options) -> None:
    with stage(workers=2, lines=True) as scene:
        for name, (trouble, story) in LONGER_THAN_BUDGETS.items():
            one(scene, name, story, report, partial(longer_than_budget, scene, story, trouble))


def temporal(report: Report, options: Options) -> None:
    with stage(workers=2, lines=True) as scene:
        for name, play in TEMPORAL.items():
            for story in STORIES if play is not emptied else (*STORIES, LASTING):
                one(scene, name, story, report, partial(play, scene, story))


def reclaims(report: Report, options: Options) -> None:
    """One row for each trouble, with the kind of call at which it took longest."""
    with reclaim_stage() as scene:
        undisturbed = tell(scene)
        report.add("none", "reclaim", "", f"takes {undisturbed.seconds:.1f} s in all, {BUDGET:.0f} s of it hard delete")
        for name, troubles in itertools.groupby(TROUBLES, key=lambda each: each[0]):
            calls, worst, where, verdict = 0, 0.0, "", "as undisturbed"
            for _, call, trouble in troubles:
                calls += 1
                try:
                    outcome = tell(scene, trouble)
                except (AssertionError, RuntimeError) as error:
                    report.wrong.append(f"{name}, {call}: {error}")
                    print(report.wrong[-1], flush=True)
                    verdict = "**otherwise**"
                    recover(scene)
                    continue
                late = outcome.seconds - undisturbed.seconds
                print(f"  {name}, {call}: {late:+.1f} s", flush=True)
                said = report.judge(f"{name}, {call}", "reclaim", undisturbed, outcome)
                verdict = said if said.startswith("**") else verdict
                worst, where = max((worst, where), (late, call))
            late_at = f"{worst:+.1f} at worst ({where})" if where else "no later"
            report.add(f"{name}, {calls} kinds of call", "reclaim", verdict, late_at)


PARTS: Mapping[str, Callable[[Report, Options], None]] = {
    "requests": requests,
    "kills": kills,
    "absences": absences,
    "replicas": replicas,
    "starts": starts,
    "pairs": pairs,
    "budgets": budgets,
    "temporal": temporal,
    "reclaims": reclaims,
}


def main() -> int:
    given = dict(word.split("=") for word in sys.argv[1:])
    options = Options(int(given.get("every", 1)), float(given.get("away", 60)))
    ensure_all()
    wrong: list[str] = []
    for part in given.get("parts", ",".join(PARTS)).split(","):
        began, report = time.monotonic(), Report()
        PARTS[part](report, options)
        write(part, report, time.monotonic() - began)
        wrong += report.wrong
    print("\n".join(wrong) or "every story ended as undisturbed", flush=True)
    return 1 if wrong else 0


def write(part: str, report: Report, seconds: float) -> None:
    """Put the part's table where people read it."""
    table = re.compile(rf"(?<=<!-- chaos {part} -->\n).*?(?=<!-- /chaos -->)", re.DOTALL)
    command = " ".join(["make chaos", *([f'ARGS="{" ".join(sys.argv[1:])}"'] if sys.argv[1:] else [])])
    made = f"\nPart `{part}` of `{command}`, {datetime.now(UTC):%Y-%m-%d}, {seconds / 60:.0f} minutes on 2 cores.\n"
    page = PAGE.read_text()
    PAGE.write_text(table.sub(lambda _: HEAD + "\n".join(report.rows) + "\n" + made, page, count=1))


if __name__ == "__main__":
    sys.exit(main())
