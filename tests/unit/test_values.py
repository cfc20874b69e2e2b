"""The page and the schema of the chart's values say what the chart and the settings say."""

from localcluster.chartvalues import PAGE, SCHEMA, page, schema, values


def test_every_value_has_a_sentence() -> None:
    assert [name for name, default, text in values() if default and not text.endswith((".", ")"))] == []


def test_the_page_and_the_schema_are_those_that_make_values_writes() -> None:
    assert page() == PAGE.read_text(), "run `make values`"
    assert schema() == SCHEMA.read_text(), "run `make values`"
