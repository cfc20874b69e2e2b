"""What the pages say about the chart's values renders: options in commands of Helm, files of values, names."""

import json
import re
import shlex
from itertools import pairwise
from typing import Any

import pytest
import yaml

from localcluster.controlplane import CHECKOUT
from tests.e2e.test_manager_chart import template
from tests.unit.test_docs import PAGES, commands


def value_files() -> list[Any]:
    """The blocks of YAML that are values of chart/btp-manager."""
    found = []
    for page in PAGES:
        blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        files = [block for block in blocks if block.startswith(("# values.yaml", "operand:"))]
        found += [pytest.param(block, id=f"{page.name}-{number}") for number, block in enumerate(files)]
    return found


def set_by_commands() -> list[Any]:
    """The values in commands of Helm."""
    found = []
    for page in PAGES:
        for line in commands(page):
            words = shlex.split(line, comments=True) if line.startswith("helm ") else []
            if values := [after for word, after in pairwise(words) if word == "--set"]:
                found.append(pytest.param(",".join(values), id=f"{page.name}-{values[0]}"))
    return found


def with_files(text: str) -> list[str]:
    """The block as values of `--set-json`, the placeholder of a certificate left out."""
    values = yaml.safe_load(text)
    manager = (values.get("operand") or {}).get("manager") or {}
    manager.pop("customCACerts", None)
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


@pytest.mark.parametrize("text", value_files())
def test_a_page_s_file_of_values_is_accepted(text: str) -> None:
    assert template(*with_files(text))


@pytest.mark.parametrize("values", set_by_commands())
def test_a_command_s_values_are_accepted(values: str) -> None:
    pairs = [pair.partition("=") for pair in values.split(",")]
    assert template(*(f"{key}={_json(value)}" for key, _, value in pairs))


def _json(value: str) -> str:
    return value if value in ("true", "false") or value.isdigit() else json.dumps(value)


def test_every_value_that_a_page_names_exists() -> None:
    known = set(re.findall(r"^\| `([\w.]+)` \|", (CHECKOUT / "docs" / "values.md").read_text(), re.MULTILINE))
    tops = {name.partition(".")[0] for name in known}
    missing = {
        (page.name, name)
        for page in PAGES
        for name in re.findall(r"`([a-zA-Z]+(?:\.[a-zA-Z]+)+)(?:=[^`]*)?`", page.read_text())
        if name.partition(".")[0] in tops - {"operand", "settings"} and name not in known
        if not any(name.startswith(f"{one}.") or one.startswith(f"{name}.") for one in known)
    }
    assert missing == set()


def test_the_operand_s_image_is_named_as_its_chart_has_it() -> None:
    values = yaml.safe_load((CHECKOUT / "chart" / "sap-btp-operator" / "values.yaml").read_text())
    image = values["manager"]["image"]
    assert f"`{image['repository']}:{image['tag']}`" in (CHECKOUT / "docs" / "install-networks.md").read_text()
