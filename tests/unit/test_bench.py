"""What `make bench` says of two runs."""

from benchmarks.small import Figures


def test_what_got_slower_is_named_and_what_varies_by_itself_is_not() -> None:
    figures = Figures()
    figures.found = {"times": {"Ready": 14.0, "start": 40.0}, "requests": {"Ready": 93, "look": 24, "new": 1}}
    said = figures.compared({"times": {"Ready": 10.0, "start": 20.0}, "requests": {"Ready": 80, "look": 24}})
    assert said.endswith("got slower: start (loops): 20 -> 40; Ready (requests): 80 -> 93")
    assert "| look, requests | 24 | 24 | x 1.00 |" in said and "| new, requests | 1 | - | new |" in said


def test_without_stored_figures_nothing_is_said_to_be_as_fast_as_before() -> None:
    figures = Figures()
    figures.found["times"]["Ready"] = 14.0
    assert figures.compared({}).endswith("no figures are stored: ARGS=--store keeps those of this run")
