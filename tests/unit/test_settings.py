from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcluster.controlplane import CHECKOUT
from models.durations import parse_duration, show_duration
from runtime.settings import CodecServerSettings, SettingsError, TriggerSettings, WorkerSettings, read_settings


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("1h30m", 5400), ("1.5h", 5400), ("250ms", 0.25), ("1d", 86400)]
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "20", "m", "-5m", "0s", "5 m", "20m!", "1h30", "1h, 30m", "5mm", "1e3s", "1.2.3s"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 90s|longer than nothing"):
        parse_duration(text)


def test_a_duration_beyond_all_bounds_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^'9{20}d' is longer than any duration$"):
        parse_duration("9" * 20 + "d")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0s"), (0.2504, "250ms"), (1.4, "1s"), (59.6, "1m"), (751, "12m31s"), (90000, "25h")]
)
def test_durations_are_shown_as_people_read_them(seconds: float, shown: str) -> None:
    assert show_duration(timedelta(seconds=seconds)) == shown


@given(st.integers(1, 10**6))
def test_a_shown_duration_reads_back(seconds: int) -> None:
    assert parse_duration(show_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BTP_READY_TIMEOUT", "soon", "BTP_READY_TIMEOUT: 'soon' is not a duration such as 90s, 20m or 1h30m"),
        ("BTP_OPERAND_TEARDOWN", "never", "BTP_OPERAND_TEARDOWN: Input should be 'first', 'last' or 'auto'"),
        ("BTP_HEALTH_ADDRESS", "8081", "BTP_HEALTH_ADDRESS: '8081' is not an address such as :8080"),
        ("BTP_DELETE_REQUEST_TIMEOUT", "5s", "BTP_DELETE_REQUEST_TIMEOUT: shorter than 10s: it would be over before"),
        ("BTP_LOG_LEVEL", "loud", "BTP_LOG_LEVEL: Input should be 'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_a_bad_setting_is_one_sentence_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        read_settings(WorkerSettings)
    assert says in str(error.value)


@pytest.mark.parametrize("kind", [WorkerSettings, TriggerSettings, CodecServerSettings])
def test_the_page_on_configuration_names_every_setting_with_its_default(kind: type[WorkerSettings]) -> None:
    page = (CHECKOUT / "docs" / "configuration.md").read_text()
    for name, field in kind.model_fields.items():
        default = field.default
        shown = show_duration(default) if isinstance(default, timedelta) else str(default)
        shown = shown.removeprefix(f"{CHECKOUT}/")
        row = next((line for line in page.splitlines() if line.startswith(f"| `BTP_{name.upper()}`")), "")
        assert row, f"docs/configuration.md does not name BTP_{name.upper()}"
        assert shown in row and str(field.description) in row


@pytest.mark.parametrize(
    ("kind", "metrics", "health"),
    [(WorkerSettings, 8080, 8081), (TriggerSettings, 8082, 8083), (CodecServerSettings, 8084, 8085)],
)
def test_pages_are_for_this_machine_unless_it_is_a_pod_or_somebody_says_more(
    monkeypatch: pytest.MonkeyPatch, kind: type[WorkerSettings], metrics: int, health: int
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    here = read_settings(kind)
    assert (here.metrics_address, here.health_address) == (f"127.0.0.1:{metrics}", f"127.0.0.1:{health}")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("BTP_METRICS_ADDRESS", "127.0.0.1:9")
    pod = read_settings(kind)
    assert (pod.metrics_address, pod.health_address) == ("127.0.0.1:9", f":{health}")
    monkeypatch.setenv("BTP_HEALTH_ADDRESS", "")
    assert read_settings(kind).health_address == ""
