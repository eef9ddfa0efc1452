"""Templates of prompts."""

from __future__ import annotations

import pytest

from asyncinfer.config.prompt_template import PromptTemplate


def rendered(source: str, **values: object) -> str:
    return PromptTemplate(source).render(values)


def test_columns_are_variables() -> None:
    assert rendered("Summarise: {{ text }} ({{ year + 1 }})", text="a\nb", year=1999) == "Summarise: a\nb (2000)"


def test_row_has_columns_whose_names_are_no_variables() -> None:
    assert rendered("{{ row['Customer name'] }}", **{"Customer name": "Ada"}) == "Ada"


def test_column_named_row_is_a_column() -> None:
    assert rendered("{{ row }}", row="a") == "a"


def test_null_is_an_empty_text() -> None:
    assert rendered("[{{ text }}]", text=None) == "[]"


def test_values_are_never_templates() -> None:
    assert rendered("{{ text }}", text="{{ 7 * 7 }}") == "{{ 7 * 7 }}"


def test_tojson_keeps_unicode_and_html() -> None:
    assert rendered("{{ items | tojson }}", items=["<ü>"]) == '["<ü>"]'


def test_final_line_break_is_kept() -> None:
    assert rendered("{{ a }}\n", a=1) == "1\n"


@pytest.mark.parametrize("source", ["{{ txt }}", "{{ row['txt'] }}", "{% if txt %}a{% endif %}", "{{ txt.upper() }}"])
def test_missing_column_is_an_error_that_names_the_columns(source: str) -> None:
    with pytest.raises(ValueError, match="'txt'.*the columns are text, label"):
        rendered(source, text="a", label="b")


def test_columns_may_be_optional() -> None:
    assert rendered("{{ note | default('none') }}", text="a") == "none"


@pytest.mark.parametrize(
    ("source", "line"), [("{{ text }", 1), ("a\nb {{ text", 2), ("{% for x in y %}", 1), ("{% include 'a' %", 1)]
)
def test_invalid_template_is_an_error_with_its_line(source: str, line: int) -> None:
    with pytest.raises(ValueError, match=f"not a valid Jinja template: line {line}: "):
        PromptTemplate(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ text.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ items.append(1) }}",
        "{{ '{0.__class__}'.format(text) }}",
        "{% include '/etc/passwd' %}",
        "{{ lipsum.__globals__ }}",
    ],
)
def test_sandbox_refuses_what_leaves_the_row(source: str) -> None:
    with pytest.raises(ValueError, match="the template fails|there is no column"):
        rendered(source, text="a", items=[1])


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10**9 }}",
        "{{ [1] * 10**9 }}",
        "{{ 2 ** 1000000 }}",
        "{{ range(10**9) | list }}",
        "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
    ],
)
def test_size_of_a_text_is_bounded(source: str) -> None:
    with pytest.raises(ValueError, match="too large|Range too big|more than 16,777,216 characters"):
        rendered(source)


def test_names_of_columns_are_known_before_any_row() -> None:
    template = PromptTemplate("{% for word in words %}{{ word }}{% endfor %}{{ range(2) | list }}{{ title }}")
    assert template.columns == {"words", "title"}
