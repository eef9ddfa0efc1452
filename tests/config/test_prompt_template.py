"""Templates of prompts."""

from __future__ import annotations

from datetime import date

import pytest

from asyncinfer.config import template_work
from asyncinfer.config.prompt_template import PromptTemplate


def rendered(source: str, **values: object) -> str:
    return PromptTemplate(source).render(values)


def test_columns_are_variables() -> None:
    assert rendered("Summarise: {{ text }} ({{ year + 1 }})", text="a\nb", year=1999) == "Summarise: a\nb (2000)"


def test_row_has_columns_whose_names_are_no_variables() -> None:
    assert rendered("{{ row['Customer name'] }}", **{"Customer name": "Ada"}) == "Ada"


def test_row_has_all_columns_also_one_of_the_same_name() -> None:
    values = {"row": "a", "self": "b", "none": "c", "Full name": "d"}
    template = "{{ row['row'] }}{{ row['self'] }}{{ row['none'] }}{{ row['Full name'] }}"
    assert rendered(template, **values) == "abcd"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ row }}", r"'row' is all columns of the row; write row\['row'\] for the column of this name"),
        ("{{ self }}", r"'self' is an object of Jinja; write row\['self'\] for the column of this name"),
    ],
)
def test_name_that_may_be_a_column_or_another_variable_is_an_error(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rendered(source, row="a", self="b")
    assert rendered(source, text="a")


def test_name_of_a_column_with_a_space_is_an_error_that_says_how_to_write_it() -> None:
    with pytest.raises(ValueError, match=r"a column whose name is no variable is row\['its name'\]"):
        PromptTemplate("{{ Full name }}")


def test_columns_hide_functions_of_jinja() -> None:
    assert rendered("{{ range }}{{ dict }}", range="a", dict="b") == "ab"


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


MANY = "{% for i in range(100000) %}{% for j in range(100000) %}"
DOUBLED = "{% set n = namespace(v=START) %}{% for i in range(60) %}{% set n.v = DOUBLE %}{% endfor %}{{ n.v }}"


def doubled(start: str, double: str) -> str:
    return DOUBLED.replace("START", start).replace("DOUBLE", double)


@pytest.mark.parametrize(
    "source",
    [
        MANY + "{% endfor %}{% endfor %}",
        MANY.replace(" %}", " if false %}") + "{% endfor %}{% endfor %}" + "{% for i in range(99999) if 0 %}{% endfor %}" * 20,
        "{% for a in text %}{% for b in text %}{% endfor %}{% endfor %}",
        "{% for a in items %}" * 5 + "{% endfor %}" * 5,
        "{% for i in range(100000) if 'zz' in text %}{% endfor %}",
        "{% for i in range(100000) %}{% if text == text + '' %}{% endif %}{% endfor %}",
        "{% for i in range(100000) %}{% set a = text[::-1] %}{% endfor %}",
        "{% for i in range(100000) %}{% set a = text | upper %}{% endfor %}",
        "{% for i in range(100000) %}{% set a = text is upper %}{% endfor %}",
        "{% set f = text.upper %}{% for i in range(100000) %}{% set a = f() %}{% endfor %}",
        "{% set a %}{% for i in range(100000) %}" + "k" * 10000 + "{% endfor %}{% endset %}",
        "{% set c = cycler(1, 2) %}" + MANY + "{{ c.next() }}{% endfor %}{% endfor %}",
        "{% for i in range(100000) recursive %}{% endfor %}" * 20,
        "{% macro m(n) %}{{ m(n - 1) }}{{ m(n - 1) }}{% endmacro %}{{ m(9) }}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% block a %}{{ self.a() }}{% endblock %}",
        doubled("'ab'", "n.v ~ n.v"),
        doubled("'ab'", "n.v + n.v"),
        doubled("[1]", "n.v + n.v"),
        doubled("[1]", "[n.v, n.v]"),
        doubled("[1]", "[n.v, n.v]").replace("{{ n.v }}", "{{ n.v == n.v }}"),
        doubled("{'a': 1}", "{'a': n.v, 'b': n.v}").replace("{{ n.v }}", "{{ n.v | tojson }}"),
        doubled("7", "n.v * n.v"),
        doubled("'ab'", "n.v | replace('a', n.v)"),
        doubled("[]", "[n.v]").replace("60", "100000"),
        "{{ 'a'.center(10**10) }}",
        "{{ 'a' | center(10**10) }}",
        "{{ ('a' | e).rjust(10**10) }}",
        "{{ 'a'.zfill(10**10) }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '%(a(b))999999999d' % {'a(b)': 1} }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ '{:{w}}'.format(1, w=999999999) }}",
        "{{ '{a:>999999999}'.format_map({'a': 1}) }}",
        "{{ ('{:>999999999}' | attr('format'))(1) }}",
        "{{ '{:%999999999d}'.format(day) }}{{ day.strftime('%999999999d') }}",
        "{{ 'a' | indent(10**10) }}",
        "{{ text | join(text) }}",
        "{{ text.join(items) }}",
        "{{ range(100000) | map('string') | join(text) }}",
        "{{ text | replace('', text) }}",
        "{{ text | list }}",
        "{{ items | batch(10**9, 'x') | list }}",
        "{{ items | slice(10**9) | list }}",
        "{{ items | tojson(indent=10**9) }}",
        "{{ 5 | round(-10**9) }}",
        "{{ text | wordwrap(1) }}",
        "{{ ('<a>' * 10**6) | striptags }}",
        "{{ ([[1] * 100] * 50000) | sum(start=[]) }}",
        "{{ ([text] * 10) | select | join }}" * 2,
        "{{ (7).to_bytes(10**9, 'big') }}",
        "{{ 'a\\t'.expandtabs(10**9) }}",
        "{{ text.translate({120: text}) }}",
        "{{ text.strip(text) }}",
        "{{ [[[[1] * 4000] * 4000] * 4000] }}",
        "{{ ('f' * 10**7) | int(base=16) // 3 }}",
        "{{ 3 ** (9 ** 9) }}",
        "{% for i in range(0, 10**12, 1) %}{% endfor %}",
    ],
)  # fmt: skip
def test_time_and_memory_of_a_row_are_bounded(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_work, "_MOST", 1 << 23)  # The test takes less time.
    failures = (
        "does too much|too large|Range too big|nested too deeply|should (not have|be)|cannot use|more than 16,777"
    )
    with pytest.raises(ValueError, match=f"the template fails: .*({failures})|the text has more than"):
        rendered(source, text="x" * 10**6, items=[*range(200)], day=date(2026, 1, 1))


@pytest.mark.parametrize(
    "source", ["{{ " + "[" * 9999 + "]" * 9999 + " }}", "{{ 1" + "+1" * 9999 + " }}", "{% if 1 %}" * 9999]
)
def test_template_that_is_nested_too_deeply_is_an_error(source: str) -> None:
    with pytest.raises(ValueError, match="not a valid Jinja template: "):
        PromptTemplate(source)


@pytest.mark.parametrize("source", ["{{ items | random }}", "{{ lipsum() }}"])
def test_nothing_in_a_template_is_random(source: str) -> None:
    with pytest.raises(ValueError, match="No filter named 'random'|no column 'lipsum'"):
        rendered(source, items=[1, 2])


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for item in items if item is odd %}{{ loop.index }}/{{ loop.length }}:{{ item }} {% endfor %}", "1/2:1 2/2:3 "),
        ("{% for k, v in pairs.items() %}{{ k }}={{ v }}{{ ', ' if not loop.last }}{% endfor %}", "a=1, b=2"),
        ("{{ items | map('string') | join('-') }}", "1-2-3"),
        ("{{ text[:3] ~ '...' }}", "The..."),
        ("{{ '%s: %05.1f' | format('a', 2.5) }} {{ '{:>4}|{b}'.format('a', b=1) }}", "a: 002.5    a|1"),
        ("{% if text is defined and 'fox' in text and gone is not defined %}yes{% endif %}", "yes"),
        ("{{ text | truncate(7) }} {{ text | replace('The', 'A') | upper }}", "The... A FOX  RUNS"),
        ("{{ text | wordwrap(4) | indent(2) }}", "The\n  fox\n  runs"),
        ("{{ text.split() | first }} {{ ','.join(text.split()) }} {{ text.replace('fox', 'dog') }}", "The The,fox,runs The dog  runs"),
        ("{% set n = namespace(sum=0) %}{% for item in items %}{% set n.sum = n.sum + item %}{% endfor %}{{ n.sum }}", "6"),
        ("{% macro b(x) %}<b>{{ x }}</b>{% endmacro %}{{ b(1) }}", "<b>1</b>"),
        ("{% macro q() %}<{{ caller() }}>{% endmacro %}{% call q() %}a{% endcall %}", "<a>"),
        ("{{ records | selectattr('n', 'gt', 1) | map(attribute='n') | sum }} {{ records | groupby('n') | length }}", "5 3"),
        ("{% for r in tree recursive %}{{ r.n }}{{ loop(r.sub) if r.sub }}{% endfor %}", "12"),
        ("{{ day.strftime('%d.%m.%Y') }} {{ '{:%d}'.format(day) }} {{ day.year }}", "01.02.2026 01 2026"),
        ("{{ items | batch(2) | list }} {{ items | reverse | list }} {{ items | tojson(indent=1) | length }}", "[[1, 2], [3]] [3, 2, 1] 14"),
        ("{{ 2 ** 10 }} {{ 7 // 2 }} {{ 7 % 4 }} {{ -1 }} {{ 1.5 | round }}", "1024 3 3 -1 2.0"),
        ("{{ row.get('note') is none }} {{ 'note' in row }} {{ row | length }}", "True False 7"),
    ],
)  # fmt: skip
def test_usual_templates_are_rendered(source: str, text: str) -> None:
    records = [{"n": n} for n in (1, 2, 3)]
    tree = [{"n": 1, "sub": [{"n": 2, "sub": []}]}]
    values = {"text": "The fox  runs", "items": [1, 2, 3], "pairs": {"a": 1, "b": 2}, "day": date(2026, 2, 1)}
    assert rendered(source, **values, records=records, tree=tree, other=None) == text


def test_large_texts_and_lists_may_be_used() -> None:
    long = "word " * 200_000
    assert len(rendered("{{ text | trim | replace('word', 'a') | upper }}{{ text[:9] }}", text=long)) == 2 * 200_000 + 8
    words = "{% for w in text.split() %}{{ w if w != 'x' }}{% endfor %}"
    assert len(rendered(words, text=long)) == 4 * 200_000
    assert rendered("{{ xs | sum }} {{ xs | join(',') | length }}", xs=[1] * 100_000) == "100000 199999"


def test_names_of_columns_are_known_before_any_row() -> None:
    template = PromptTemplate("{% for word in words %}{{ word }}{% endfor %}{{ range(2) | list }}{{ title }}")
    assert template.columns == {"words", "title"}
