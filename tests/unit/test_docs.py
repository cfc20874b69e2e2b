"""What the pages name is there: files, sections, make targets, commands and their options, settings, reasons."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from btpctl.__main__ import app
from localcluster.controlplane import CHECKOUT
from localcluster.machine import PROGRAMS
from models.conditions import Reason
from runtime.settings import CodecServerSettings, TriggerSettings, WorkerSettings

PAGES = sorted(
    [
        CHECKOUT / "README.md",
        CHECKOUT / "CONTRIBUTING.md",
        CHECKOUT / "chart" / "btp-manager" / "README.md",
        *(CHECKOUT / "docs").rglob("*.md"),
    ]
)
COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
PROGRAM: Any = typer.main.get_command(app)
KINDS = (WorkerSettings, TriggerSettings, CodecServerSettings)
SETTINGS = {f"BTP_{name.upper()}" for kind in KINDS for name in kind.model_fields}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))


@pages
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def anchors(page: Path) -> set[str]:
    """The sections of a page, as GitHub names them, and the anchors that it sets itself."""
    text = page.read_text()
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    named = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return named | set(re.findall(r'<a id="([\w-]+)">', text))


@pages
def test_every_link_to_a_section_leads_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s:]*\.md)?#([\w-]+)\)", page.read_text())
    lost = [
        f"{file}#{section}" for file, section in links if section not in anchors((page.parent / file) if file else page)
    ]
    assert lost == []


def commands(page: Path) -> list[str]:
    """The lines of a page's blocks of text, continued ones put together."""
    blocks = re.findall(r"^ *```text\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]


@pages
def test_every_command_of_btpctl_is_accepted_as_it_is_written(page: Path) -> None:
    for line in commands(page):
        if line.startswith("btpctl "):
            command_line, *_explained = re.split(r"\s{3,}", line)
            name, *words = shlex.split(command_line, comments=True)[1:]
            PROGRAM.commands[name].make_context(name, words)


@pages
def test_every_option_of_btpctl_in_a_sentence_exists(page: Path) -> None:
    for name, words in re.findall(r"`btpctl ([a-z][a-z-]*)([^`]*)`", page.read_text()):
        known = {option for parameter in PROGRAM.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<= )--?[a-z-]+", re.sub('".*?"', "", words))) <= known


@pages
def test_every_make_target_command_and_setting_exists(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    assert set(re.findall(r"(?<![\w-])btpctl ([a-z][a-z-]*)", text)) <= COMMANDS
    assert set(re.findall(r"\bBTP_[A-Z_]+[A-Z]\b", text)) <= SETTINGS


@pages
def test_every_file_in_backquotes_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:docs|tests|chart|localcluster|models|kube|runtime|workflows)/[\w./-]+)`", page.read_text()
    )
    assert [name for name in named if not (CHECKOUT / name).exists()] == []


@pages
def test_every_reason_and_state_is_one_of_ours(page: Path) -> None:
    said = re.findall(r"`(?:Error|Processing|Deleting|Ready)/(\w+)`", page.read_text())
    assert set(said) <= set(Reason)


NOT_RUN = "not run here"
READS_PAGES = re.compile(r"\b(block|commands|documented)\(")
"""The functions that take a command out of a page: a test that says it again in its own words proves less."""
WITHOUT_COMMANDS = ("output of ", "a list of ", "an example", "run by hand on ")


@pages
def test_every_block_says_which_test_runs_it_or_that_none_does(page: Path) -> None:
    lines = page.read_text().splitlines()
    opened = False
    for number, line in enumerate(lines):
        opened = opened != line.lstrip().startswith("```")
        if not opened or not line.lstrip().startswith("```") or line.strip() == "```mermaid":
            continue
        mark = re.fullmatch(r" *<!-- (.+) -->", lines[number - 1])
        if mark is None:
            end = next(last for last in range(number + 1, len(lines)) if lines[last].lstrip().startswith("```"))
            said = " ".join(lines[max(number - 5, 0) : end]).lower()
            assert NOT_RUN in said, f"{page.name}:{number + 1} says neither what runs it nor that nothing does"
        elif files := re.findall(r"tests/[\w/]+\.py", mark[1]):
            assert all((CHECKOUT / file).is_file() for file in files), mark[1]
            if mark[1].startswith(("run by ", "its first line is run by ")):
                said = (CHECKOUT / files[0]).read_text()
                assert page.stem in said and READS_PAGES.search(said), f"{files[0]} does not read {page.name}"
        else:
            assert mark[1].startswith(WITHOUT_COMMANDS), mark[1]


DECISIONS = sorted((CHECKOUT / "docs" / "decisions").glob("[0-9]*.md"))


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_every_decision_has_the_same_shape_and_a_row_in_the_index(path: Path) -> None:
    text = path.read_text()
    head = re.match(r"# (\d+)\. (.+)\n\nDate: (\d{4}-\d\d-\d\d).*?[.,] ?.*Status: (.+)\.", text)
    assert head, f"{path.name} does not begin with its number, title, date and status"
    number, title, date, status = head.groups()
    assert int(number) == int(path.name[:4])
    parts = re.findall(r"^\*\*(Context|Choice|Alternative|Consequences)\.\*\*", text, re.MULTILINE)
    assert parts == ["Context", "Choice", "Alternative", "Consequences"]
    index = (path.parent / "README.md").read_text()
    assert f"| {number} | [{title}]({path.name}) | {date} | {status.split('. ')[0]} |" in index


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, todo = set[Path](), [CHECKOUT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or not page.is_file():
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())
        todo += [(page.parent / link).resolve() for link in links if "://" not in link]
    assert {page for page in PAGES if "decisions" not in page.parts} - seen == set()


def test_every_reason_has_a_runbook() -> None:
    assert anchors(CHECKOUT / "docs" / "runbooks.md") >= {reason.lower() for reason in Reason}


def test_the_readme_is_short() -> None:
    assert len((CHECKOUT / "README.md").read_text().splitlines()) <= 120


def test_github_runs_what_has_to_pass_before_a_change_lands() -> None:
    jobs = yaml.safe_load((CHECKOUT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    in_steps = set(re.findall(r"\bmake ([a-z-]+)", str([job["steps"] for job in jobs.values()])))
    lines = (CHECKOUT / ".ci" / "run").read_text().splitlines()
    deciding = "\n".join(line for line in lines if "||" not in line)  # the benchmark is only printed
    before = set(re.findall(r"^step .*?\bmake ([a-z-]+)", deciding, re.MULTILINE))
    assert before and before <= in_steps | set(jobs["test"]["strategy"]["matrix"]["target"])


@pytest.mark.parametrize("file", [".ci/run", "docs/install.md"])
def test_the_packages_of_a_real_node_are_all_named_where_they_are_installed(file: str) -> None:
    text = (CHECKOUT / file).read_text().replace("\\\n", " ")
    (installed,) = re.findall(r"apt-get install (.*)", text)
    essential = {"util-linux"}
    for_images = {"buildah", "debootstrap"}
    named = {word for word in installed.partition(">")[0].split() if not word.startswith("-")}
    assert named == set(PROGRAMS.values()) - essential | for_images
