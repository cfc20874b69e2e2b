"""docker-compose.yml as its head says to use it, and what happens to a laptop then: `make test-compose`."""

import json
import shlex
from typing import Any

import pytest

from localcluster.compose import FILES, Compose
from localcluster.processes import wait_until

pytestmark = pytest.mark.timeout(400)
POSSIBLE = 120.0
"""Seconds that a step may take on a busy machine."""
SERVICES = ("k3s", "postgresql", "temporal", "worker", "trigger")


def documented(beginning: str) -> list[str]:
    """The command in the head of docker-compose.yml that begins so, as words for `docker compose`."""
    head = FILES[0].read_text().split("\nname:")[0].replace("\\\n#", "").replace("# ", "")
    (line,) = [line.strip() for line in head.splitlines() if line.strip().startswith(f"docker compose {beginning}")]
    words = shlex.split(line.split("   ")[0] if "--detach" in line else line)[2:]
    return [*words[:1], "--no-TTY", *words[1:]] if words[0] == "exec" else words


def kubectl(laptop: Compose, *arguments: str) -> str:
    return laptop.compose("exec", "--no-TTY", "k3s", "kubectl", "-n", "kyma-system", *arguments)


def ready(laptop: Compose) -> bool:
    """Whether the CR says that the operand is installed."""
    try:
        status: dict[str, Any] = json.loads(kubectl(laptop, "get", "btpoperator", "btpoperator", "-o", "json"))
    except RuntimeError:
        return False
    return bool(status.get("status", {}).get("state") == "Ready")


def healthy(laptop: Compose) -> bool:
    """Whether the cluster, worker and trigger say that they are."""
    try:
        lines = laptop.compose("ps", "--format", "json", "k3s", "worker", "trigger").splitlines()
    except RuntimeError:
        return False
    return [json.loads(line)["Health"] for line in lines] == ["healthy"] * 3


def eventually(laptop: Compose, true: Any, what: str) -> None:
    def seen() -> str:
        try:
            return f"{what}\n{laptop.compose('ps', '--all')}\n{laptop.compose('logs', '--tail', '8')}"
        except RuntimeError as error:
            return f"{what}: {error}"

    wait_until(lambda: true(laptop), seen, seconds=POSSIBLE, every=0.5)


def goes_on(laptop: Compose) -> None:
    """A CR goes and another becomes Ready: cluster, Temporal, worker and trigger work together."""
    eventually(laptop, healthy, "cluster, worker and trigger to be healthy")
    kubectl(laptop, "delete", "btpoperator", "btpoperator", f"--timeout={POSSIBLE:.0f}s")
    laptop.compose(*documented("exec k3s kubectl apply"))
    eventually(laptop, ready, "the CR to be Ready")


def test_the_commands_in_its_head_lead_to_a_ready_operand(laptop: Compose) -> None:
    laptop.compose(*[word for word in documented("up") if word != "--build"], "--no-build")
    laptop.compose(*documented("exec k3s kubectl -n kyma-system create secret"))
    laptop.compose(*documented("exec k3s kubectl apply"))
    eventually(laptop, ready, "the CR to be Ready")
    eventually(laptop, healthy, "cluster, worker and trigger to be healthy")


@pytest.mark.parametrize("service", SERVICES)
def test_it_goes_on_after_a_service_was_restarted(laptop: Compose, service: str) -> None:
    laptop.compose("restart", service)
    goes_on(laptop)


def test_it_comes_back_with_the_engine(laptop: Compose) -> None:
    laptop.stop_engine()
    laptop.start_engine()
    goes_on(laptop)


def test_cluster_and_temporal_are_kept_together_or_lost_together(laptop: Compose) -> None:
    laptop.compose("down")
    laptop.compose("up", "--detach", "--no-build")
    eventually(laptop, ready, "the CR of before to be there")
    goes_on(laptop)
    laptop.compose("down", "--volumes")
    assert laptop.docker("volume", "ls", "--quiet") == ""
