"""Several kubeconfigs are read as kubectl reads them: a command must not reach another cluster than kubectl would."""

import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube.credentials import Access, access_from_environment


def written(path: Path, current: str | None, **users: Any) -> Path:
    """A kubeconfig with a context, a cluster and these users; cluster and context are called like the file."""
    context = {"cluster": path.name, "user": next(iter(users), "me")}
    config = {
        "clusters": [{"name": path.name, "cluster": {"server": f"https://{path.name}.example.com"}}],
        "contexts": [{"name": path.name, "context": context}],
        "users": [{"name": name, "user": user} for name, user in users.items()],
    }
    path.write_text(yaml.safe_dump(config if current is None else config | {"current-context": current}))
    return path


async def read(monkeypatch: pytest.MonkeyPatch, *paths: Path, context: str = "") -> Access:
    monkeypatch.setenv("KUBECONFIG", ":".join(map(str, paths)))
    access = await access_from_environment(context)
    await access.api.close()
    return access


async def test_the_first_file_with_a_current_context_says_which_cluster_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = written(tmp_path / "none", None, me={"token": "a"})
    empty = written(tmp_path / "empty", "", me={"token": "a"})
    first = written(tmp_path / "first", "first", me={"token": "b"})
    second = written(tmp_path / "second", "second", you={"token": "c"})
    access = await read(monkeypatch, none, empty, tmp_path / "missing", first, second)
    assert (access.host, access.context, access.token) == ("https://first.example.com", "first", "Bearer a")
    access = await read(monkeypatch, second, first)
    assert (access.host, access.context, access.token) == ("https://second.example.com", "second", "Bearer c")
    access = await read(monkeypatch, first, second, context="second")
    assert (access.host, access.context, access.token) == ("https://second.example.com", "second", "Bearer c")


async def test_a_context_without_its_user_is_refused_instead_of_going_on_as_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="no user me, whom context lonely names"):
        await read(monkeypatch, written(tmp_path / "lonely", "lonely"))


async def test_kubeconfigs_without_a_current_context_are_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for current in (None, ""):
        with pytest.raises(ValueError, match=r"no usable Kubernetes configuration: .*current-context"):
            await read(monkeypatch, written(tmp_path / "config", current, me={"token": "a"}))


@pytest.mark.parametrize("broken", ["token: canary: x", "token: *canary", "token: !canary x", 'token: "canary'])
async def test_a_kubeconfig_that_is_no_yaml_is_refused_by_line_and_shows_nothing_that_stands_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "config"
    path.write_text(f"users:\n- name: me\n  user:\n    {broken}\n")
    with pytest.raises(ValueError, match="is no YAML, line ") as refused:
        await read(monkeypatch, path)
    assert "canary" not in "".join(traceback.format_exception(refused.value))


async def test_a_kubeconfig_that_is_no_mapping_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config"
    path.write_text("- canary")
    with pytest.raises(ValueError, match="is no kubeconfig: no mapping"):
        await read(monkeypatch, path)
