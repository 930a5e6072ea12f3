#!/usr/bin/env python3
"""Compares the template language with jinja2, in the environment that transformers makes.

jinja_judge.py PROGRAM           renders a list of templates, drawn evenly from all that are made here
jinja_judge.py PROGRAM --all     renders all of them
jinja_judge.py PROGRAM --folder TEMPLATES CONVERSATIONS
                                 renders files, *.jinja, with a JSON list of objects of variables

Debian's jinja2 is 3.1.2 with later fixes for safety. Where 3.1.6 differs, it is 3.1.6 that counts,
and the list leaves out:
  pop and clear of lists       3.1.2 lets templates change lists with them, 3.1.5 does not
  "1e999"|int                  fails in 3.1.2, is the default in 3.1.5
  if a: set, else: set         in 3.1.2 a name that all branches set may be undefined around them
Left out, too, is what has no one answer, such as addresses and random choices, and what is refused
on purpose: bytes, sets, complex numbers, lipsum, other templates, integers beyond 131,072 bits.
"""

import argparse
import datetime
import functools
import itertools
import json
import pathlib
import random
import re
import subprocess
import sys

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2026, 3, 14)


class Generation(Extension):
    """{% generation %}, whose body is a block of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_render")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    @staticmethod
    def _render(caller):
        return caller()


def environment():
    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def strftime_now(format):
        return NOW.strftime(format)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = strftime_now
    return made


VARIABLES = {
    "u": "ünïcode ß ŉ ﬁ 中文 İ ΑΣ ǆ",
    "messages": [
        {"role": "system", "content": "Be <b>brief</b> & kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {"x": 1.5, "y": [True, None]}}]},
        {"role": "Tool", "content": "42\n"},
    ],
    "people": [
        {"name": "Bo", "age": 3, "city": "x"},
        {"name": "al", "age": 2, "city": "X"},
        {"name": "Cy", "age": 3, "city": "y"},
        {"name": "di", "city": "y", "tags": ["p", "q"]},
    ],
    "big": 10000000000000000000000,
    "d": {"b": 2, "A": 1, "items": 3, "c d": [1], "10": "ten"},
    "long": "The quick brown-fox jumps -- well-known-ly -- over\nthe lazy dog. " * 3,
    "deep": {"a": [{"b": [1, [2, [3, {"c": "x" * 60}]]]}, "y" * 30, "z" * 40], "k": list(range(40))},
    "f": 3.14159,
}

# One of each kind.
NUMBERS = ["0", "1", "-1", "7", "25", "-37", "true", "false", "12345678901234567890", "-9223372036854775808", "2.5", "-0.0", "0.1", "1e16", "-1234.5678", "1e300", "big"]
TEXTS = ["''", "'abc'", "'Hello World foo'", "' x '", "'<b>&\"x\"</b>'", "u", "'12'", "'-3.7'", "'0x1A'", "'a,b,,c'", "'l1\\nl2\\r\\n\\nl4'", "('<i>'|safe)", "('a & b'|e)", "'{}'", "'%s'", "'A\\tb'"]
LISTS = ["[]", "[1,2,3]", "['b','A','c','a']", "[3,none]", "[[1,2],[3]]", "[0,'',none,false,'x']", "[1.5,1,true]", "(1,)", "('x','y')", "[('a',1),('b',2)]", "[nope,1]", "['<',('>'|safe)]"]
DICTS = ["{}", "{'a':1,'b':2}", "{'B':1,'a':'x','c':none}", "{1:'x',2.5:[],none:()}", "d"]
OTHERS = ["none", "nope", "range(3)", "range(10,0,-3)", "{'a':1}.items()", "d.keys()", "d.values()", "people", "([1,2,2]|map('string'))", "namespace(a=1)", "dict(x=1)"]
VIEWS = ["{'a':1}.items()", "d.keys()"]
VALUES = NUMBERS + TEXTS + LISTS + DICTS + OTHERS

FILTERS = {
    "abs": [""],
    "attr": ["('upper')", "('a')", "('items')", "('__class__')", "('real')"],
    "batch": ["(2)", "(2,'-')", "(0)", "(2.0)", ""],
    "capitalize": [""], "center": ["", "(9)", "(width=4)", "('x')"], "count": [""], "d": ["", "(1)", "('x',true)"],
    "default": ["('x')", "(boolean=true)", "(default_value=2)"],
    "dictsort": ["", "(true)", "(by='value')", "(reverse=true)", "(false,'value',true)", "(by='x')"],
    "e": [""], "escape": [""], "filesizeformat": ["", "(true)"], "first": [""], "float": ["", "(2)", "(default=none)"],
    "forceescape": [""], "format": ["", "(1)", "('x','y')", "(a=1)"],
    "groupby": ["('city')", "('age')", "('age',default=0)", "('city',case_sensitive=true)", "(0)"],
    "indent": ["", "(2)", "(2,true)", "(width=3,blank=true)", "('> ',true)"],
    "int": ["", "(5)", "(base=16)", "(default='x')", "(0,0)", "(0,2)"], "items": ["", "|list"],
    "join": ["", "(', ')", "('<'|safe)", "(attribute='name')", "('-',0)"], "last": [""], "length": [""], "list": [""],
    "lower": [""], "map": ["('upper')|list", "('string')|join('+')", "(attribute='name')|list", "(attribute='x',default='?')|list", "('length')|list", "('default',9)|list", "|list", "('nosuch')|list", "('int',default=3)|list", "(attribute=0)|list", "('first')|first"],
    "max": ["", "(attribute='age')", "(true)"], "min": ["", "(attribute='name')", "(case_sensitive=true)"], "pprint": [""],
    "reject": ["|list", "('odd')|list", "('in',[1,2])|list"], "rejectattr": ["('age')|list", "('age','eq',3)|list", "('a','defined')|list"],
    "replace": ["('a','b')", "('','-')", "('l','<',1)", "('<','>'|safe)", "(1,2)", "('a')"],
    "reverse": ["", "|list", "|join"],
    "round": ["", "(1)", "(2,'ceil')", "(method='floor')", "(-1)", "(-2,'ceil')", "(0,'x')", "(none)"],
    "safe": ["", "+'<'"], "select": ["|list", "('string')|list", "('gt',1)|list", "('nosuch')|list", "('divisibleby',3)|list"],
    "selectattr": ["('name')|list", "('age','ge',3)|list", "|list", "('tags','defined')|map(attribute='name')|list"],
    "slice": ["(2)|list", "(3,'x')|list", "(0)|list"], "sort": ["", "(true)", "(case_sensitive=true)", "(attribute='name')", "(attribute='city,name')", "(reverse=true,attribute='age')"],
    "string": ["", "+'<'"], "striptags": [""], "sum": ["", "(start=10)", "('age')", "(attribute='age',start=0.5)", "(start=[])"],
    "title": [""], "tojson": ["", "(indent=2)", "(ensure_ascii=true)", "(separators=(',',':'))", "(sort_keys=true)", "(indent='\\t')", "(indent=0)"],
    "trim": ["", "('abc')", "(chars=' x')", "(none)"], "truncate": ["(5)", "(5,true)", "(8,end='!')", "(3,leeway=0)", "(6,false,'',0)", "(2)", ""],
    "unique": ["|list", "(true)|list", "(attribute='city')|list"], "upper": [""], "urlencode": [""], "urlize": ["", "(8)"],
    "wordcount": [""], "wordwrap": ["(5)", "(7,false)", "(10,wrapstring='|')", "(6,break_on_hyphens=false)", "(0)"], "xmlattr": ["", "(false)"],
    "nosuch": [""],
}

TESTS = {name: [""] for name in "boolean callable defined even escaped false filter float integer iterable lower mapping none number odd sequence string test true undefined upper nosuch".split()}
TESTS.update({"divisibleby": ["(3)", " 2", "(0)"], "eq": ["(1)", " 'abc'"], "equalto": ["(none)"], "ne": ["(1)"], "lt": ["(2)", "('b')"], "gt": ["(1)", " 'a'"], "le": ["(1.0)"], "ge": ["(1)"], "greaterthan": ["(0)"], "lessthan": ["(3)"],
              "in": ["([1,2,'abc'])", "('abcdef')", " d", "(range(5))"], "sameas": ["(true)", "(none)", "(1)"]})

TEXT_METHODS = {
    "capitalize": ["()"], "casefold": ["()"], "center": ["(9)", "(8,'*')", "(9,'<')"], "count": ["('a')", "('')", "('b',1)", "('l',-5,-1)", "()"], "endswith": ["('c')", "(('x','o'))", "('b',0,2)"], "expandtabs": ["()", "(4)", "(tabsize=2)", "(0)"],
    "find": ["('b')", "('zz')", "('o',5)", "('',99)", "('l',none,4)"], "format": ["(1)", "('x',2,a=3)", "()"], "format_map": ["({'a':1})"], "index": ["('b')", "('zz')"],
    "isalnum": ["()"], "isalpha": ["()"], "isascii": ["()"], "isdecimal": ["()"], "isdigit": ["()"], "isidentifier": ["()"], "islower": ["()"], "isnumeric": ["()"], "isprintable": ["()"], "isspace": ["()"], "istitle": ["()"], "isupper": ["()"],
    "join": ["(['a','<'])", "([1])", "('xyz')", "(['a'],)"], "ljust": ["(6)", "(6,'.')"], "lower": ["()"], "lstrip": ["()", "('a<')"], "partition": ["('b')", "(',')", "('')", "('<')"], "removeprefix": ["('ab')"], "removesuffix": ["('bc')"], "replace": ["('a','x')", "('','-',2)", "('l','L',1)", "('<','&')", "('a',count=1)"],
    "rfind": ["('l')", "('o',0,5)"], "rindex": ["('o')"], "rjust": ["(6)", "(6,'ab')"], "rpartition": ["(',')", "('q')"], "rsplit": ["()", "(none,1)", "(',',2)", "(sep=',',maxsplit=1)"], "rstrip": ["()", "('c')"], "split": ["()", "(',')", "(none,1)", "(',',1)", "(maxsplit=1)", "('')"], "splitlines": ["()", "(true)", "(keepends=true)"],
    "startswith": ["('a')", "(('H','<'))", "('b',1)", "(1)"], "strip": ["()", "(' x')", "(chars='a')", "(none)"], "swapcase": ["()"], "title": ["()"], "translate": ["({97:'X',98:none})", "(''.maketrans('ab','xy','c'))"], "upper": ["()"], "zfill": ["(6)"],
    "nosuch": ["", "()"], "__class__": ["", ".__name__"],
}
LIST_METHODS = {"count": ["(1)", "('a')"], "index": ["(2)", "('A')", "(3,1)", "(1,1,2)"], "copy": ["()"], "append": ["", "(1)"], "sort": ["()"], "nosuch": [""], "0": [""], "1": [""]}
DICT_METHODS = {"items": ["()", "()|list"], "keys": ["()", "()|list"], "values": ["()|list"], "get": ["('a')", "('zz')", "('zz',1)", "(1)", "([])", "()"], "copy": ["()"], "update": ["({})"], "fromkeys": ["([1,2])", "('ab',0)"], "a": [""], "B": [""], "nosuch": ["", ".x"], "pop": ["('a')"]}
NUMBER_METHODS = {"real": [""], "imag": [""], "numerator": [""], "denominator": [""], "bit_length": ["()"], "bit_count": ["()"], "conjugate": ["()"], "is_integer": ["()"], "hex": ["()"], "as_integer_ratio": ["()"], "upper": [""], "nosuch": [""]}
if sys.version_info < (3, 12):  # integers have it from there on
    del NUMBER_METHODS["is_integer"]

OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]

SPECS = ["", "5", "<6", ">6", "^7", "=7", "*^9", "06", "+", " ", "-", ",", "_", "08,", "010,.2f", ".2", ".0f", ".3f", "e", ".2e", "E", "g", ".3g", "G", "#g", "%", ".1%", "d", "5d", "+d", "b", "#b", "o", "#o", "x", "#X", "c", "n", "s", ".2s", "8s", "_x", ",d", "z.1f", "#.0f", "0>5", "015,d", "+08.2f", "é<5", "q", "5.2d", ",s", "=5s", "r"]
PERCENTS = ["%s", "%r", "%a", "%d", "%i", "%5d", "%-5d|", "%05d", "%+d", "% d", "%.3d", "%x", "%#x", "%X", "%o", "%#o", "%e", "%.2E", "%f", "%.1f", "%08.2f", "%g", "%.3G", "%#g", "%c", "%10s|", "%-10s|", "%.2s", "%5.1s|", "%%", "%(a)s", "%q", "%", "%5%", "%ld", "%*d"]

STATEMENTS = r"""
{% for x in [1,2,3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }},{% endfor %}
{% for x in [1,2,3] %}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a','b') }}{{ loop.changed(x // 2) }}{% endfor %}
{% for x in [1,2,3]|map('string') %}{{ loop.last }}{{ loop.length }}{% endfor %}
{% for x in [1,2,3,4] if x is odd %}{{ x }}{{ loop.length }}{{ loop.last }}{% else %}none{% endfor %}
{% for x in [1,2,3,4] if x > 9 %}{{ x }}{% else %}none{% endfor %}
{% for x in [] %}a{% else %}b{% endfor %}{% for x in nope %}a{% else %}b{% endfor %}
{% for x in none %}{% endfor %}
{% for x in 5 %}{% endfor %}
{% for x in [1,2,3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% else %}E{% endfor %}
{% for x in [1,2] %}{% continue %}{% else %}E{% endfor %}
{% for x in [1] %}{% break %}{% else %}E{% endfor %}
{% for x in [1,2,3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% else %}E{% endfor %}
{% break %}
{% for x in [1] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
{% for a, b in [(1,2),(3,4)] %}{{ a }}{{ b }}{% endfor %}
{% for a, (b, c) in [(1,(2,3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [(1,2,3)] %}{{ a }}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{% for k in d %}{{ k }}{% endfor %}{% for c in 'aß中' %}{{ c }}.{% endfor %}
{% for x in [[1,[2]],3] recursive %}{% if x is iterable %}[{{ loop(x) }}]{{ loop.depth }}{% else %}{{ x }}{% endif %}{% endfor %}
{% for x in [1] %}{{ loop([1]) }}{% endfor %}
{% for x in [1,2] %}{% for y in [3] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}
{% for loop in [1] %}{% endfor %}
{% for x in [1] %}{% set loop = 2 %}{% endfor %}
{% set g = [1,2,3]|map('string') %}{% for x in g %}{{ x }}{{ g|first }}{% endfor %}|{{ g|list }}
{% set g = [1,2,3]|select %}{{ 2 in g }}{{ g|list }}
{% set g = [1,2,3]|reverse %}{{ g|list }}{{ g|list }}
{% set g = d|items %}{{ g|length }}
{% set g = 5|items %}ok
{% set g = [1,none]|map('abs') %}{{ g|first }}
{% set g = [1,none]|map('abs') %}{{ g|list }}
{% set x = 1 %}{% for i in [1,2] %}{{ x }}{% set x = 5 %}{{ x }}{% endfor %}{{ x }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}
{% set x, y = 1, 2 %}{{ x }}{{ y }}{% set (a, b) = 'cd' %}{{ a }}{{ b }}
{% set x = 1, %}{{ x }}
{% set ns = namespace(a=1, b=[]) %}{% for i in [1,2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c }}|{{ ns }}
{% set ns = namespace({'x': 1}, y=2) %}{{ ns.x }}{{ ns['y'] }}{{ ns._x }}
{% set x.y = 1 %}
{% set d.y = 1 %}
{% for ns.x in [1] %}{% endfor %}
{% set true = 1 %}
{% set x %}a<b{{ 1 }}{% endset %}{{ x }}{{ x|upper }}
{% set x | upper | replace('A','z') %}a<b{% endset %}{{ x }}
{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m() }}{{ m(b=1) }}
{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1,2,3,x=4) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1,2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1,a=2) }}
{% macro m(a) %}{{ kwargs }}{% endmacro %}{{ m(1,a=2) }}
{% macro m(a, a) %}{% endmacro %}
{% macro m(a=1, b) %}{% endmacro %}
{% macro m(a,) %}{% endmacro %}
{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}x{% endcall %}
{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{% endcall %}
{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}x{% endcall %}
{% macro m() %}no{% endmacro %}{% call m() %}x{% endcall %}
{% macro m() %}{{ kwargs|length }}{% endmacro %}{% call m() %}x{% endcall %}
{% macro m(x) %}{{ x }}{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}{{ m.catch_varargs }}{{ m.caller }}{{ m }}
{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}
{% macro m() %}{{ x }}{% endmacro %}{% set x = 3 %}{{ m() }}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(4) }}
{% filter upper %}a{{ 'b' }}{% endfilter %}{% filter replace('a','b')|trim %} a {% endfilter %}
{% filter nosuch %}{% endfilter %}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}
{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{% with %}{% set c = 1 %}{% endwith %}{{ c }}
{% raw %}{{ x }}{% if %}{% endraw %}
{%- raw -%}  {{ x }}  {%- endraw -%}  z
{% generation %}a{% set q = 1 %}{{ q }}{% endgeneration %}{{ q }}
{% block a %}x{{ big }}{% endblock %}{% block b %}{% endblock b %}
{% set x = 1 %}{% block a %}{{ x }}{% endblock %}
{% for i in [1] %}{% block a %}{{ i }}{% endblock %}{% endfor %}
{% block a %}{% endblock %}{% block a %}{% endblock %}
{% autoescape true %}{{ '<' }}{{ '<'|safe }}{{ d.b ~ ('>'|safe) ~ '<' }}{% set x %}<{{ '<' }}{% endset %}{{ x }}{{ ['<','>']|join('&') }}{{ '<a'|replace('a','<') }}{% endautoescape %}{{ '<' }}
{% autoescape false %}{{ '<' }}{% endautoescape %}
{% autoescape true %}{% macro m(x) %}{{ x }}{% endmacro %}{{ m('<') }}{{ {'a':'<'}|xmlattr }}{{ ['<'|safe,'<']|join(',') }}{% endautoescape %}
{% if 1 %}a{% elif 2 %}b{% else %}c{% endif %}{% if 0 %}a{% elif 2 %}b{% else %}c{% endif %}{% if 0 %}a{% elif 0 %}b{% else %}c{% endif %}
{% if false %}{{ 1|nosuch }}{% endif %}ok
{% if true %}{{ 1|nosuch }}{% endif %}ok
{% for x in [] %}{{ x|nosuch }}{% endfor %}
{% if false %}{% for x in [] %}{{ x|nosuch }}{% endfor %}{% endif %}
{{ 1 if true else 1|nosuch }}{{ 1|nosuch if false }}
{{ 1 is nosuch }}
{% if x is nosuch %}{% endif %}
{% do x %}
{% nosuch %}
{% if %}{% endif %}
{% for %}{% endfor %}
{% endif %}
{{ }}
{{ 1
{% if 1 %}
{# a {{ b }} #}x{#- c -#} y
{# unclosed
a  {%- if true -%}  b  {%- endif -%}  c
a  {%+ if true +%}  b  {% endif %}  c
a {{- '' -}} b {{ '' }} c
{% set j = joiner('-') %}{{ j() }}a{{ j() }}b{{ j() }}{% set k = joiner() %}{{ k() }}{{ k() }}{{ k.used }}{{ k.sep }}
{% set c = cycler(1,2,3) %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.pos }}{{ c.items }}{{ c.reset() }}{{ c.next() }}
{% set c = cycler() %}
{{ dict }}{{ namespace }}{{ cycler }}{{ joiner }}
{{ dict(a=1, b=2) }}{{ dict([('x',1)]) }}{{ dict({'q':1}, z=2) }}{{ dict([1]) }}
{{ range(5)|list }}{{ range(2,5) }}{{ range(0,10,3)|list }}{{ range(5)[1:3] }}{{ range(5)[-1] }}{{ range(9)[::-2]|list }}{{ 3 in range(5) }}{{ range(3) == range(0,3,1) }}
{{ range(100001) }}
{{ range(0) }}{{ range(1.5) }}
{{ range() }}
{{ range(1,2,0) }}
{{ strftime_now('%Y-%m-%d %B') }}
{{ raise_exception('no') }}
{{ 1 if 0 }}|{{ 1 if 1 }}|{{ (1 if 0) is undefined }}|{{ 1 if 0 else 2 if 0 else 3 }}
{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 1 == 1.0 == true }}{{ 3 > 2 > nope }}
{{ not 1 }}{{ not not '' }}{{ not 1 == 2 }}{{ not 'a' in 'abc' }}{{ -1 ** 2 }}{{ 2 ** 3 ** 2 }}{{ -2 ** -1 }}{{ - -3 }}{{ +true }}{{ -true }}
{{ 1 and 0 or 2 }}{{ '' or [] }}{{ 0 and nope.x }}{{ 1 or nope.x }}{{ nope and 1 }}
{{ 1 ~ 2 ~ none ~ [1] ~ nope }}{{ 1 + 2 ~ 3 }}{{ 'a' ~ 1 * 2 }}
{{ a[] }}|{{ {}[] }}|{{ {(): 1}[] }}
{{ {(1, 2): 'x'}[1, 2] }}{{ [1][0, ] }}
{{ [1,2,3,4][1:] }}{{ [1,2,3,4][:-1] }}{{ [1,2,3,4][::2] }}{{ [1,2,3,4][::-1] }}{{ 'abcdef'[1:4] }}{{ 'abc'[::-1] }}{{ (1,2,3)[:2] }}{{ 'aß中d'[1:3] }}
{{ [1,2][5:] }}{{ [1,2][-9:9] }}{{ 'abc'[99] }}{{ 'abc'[-1] }}{{ [1,2][-3] }}{{ [1,2][big] }}{{ [1,2][:big] }}{{ [1,2][-big:] }}
{{ [1,2][::0] }}
{% set x = 5 %}{{ x[1:2] }}
{% set x = {} %}{{ x[1:2] }}
{{ [1,2]['0'] }}|{{ 'ab'.0 }}|{{ [1,2].1 }}|{{ d.b }}|{{ d['c d'] }}|{{ d.items }}|{{ d['items'] }}|{{ d['nope'] }}|{{ d[none] }}|{{ d[[]] }}
{{ nope.x }}
{{ nope['x'] }}
{{ nope() }}
{{ d.nope.x }}
{{ nope + 1 }}
{{ nope ~ 1 }}{{ nope == nope }}{{ nope == none }}{{ nope|length }}{{ nope|list }}{{ nope is iterable }}{{ nope in [1] }}{{ 1 in nope }}
{{ -nope }}
{{ nope < 1 }}
{{ 1.real }}{{ (1).real }}{{ 1.5.real }}
{{ 1_000 }}{{ 0x1f }}{{ 0b101 }}{{ 0o17 }}{{ 1e3 }}{{ 1.5E-2 }}{{ 1_0.5_0 }}{{ 0xdeadbeefdeadbeefdead }}
{{ 012 }}
{{ 'a' 'b' "c" }}{{ 'x\ty\\z\'\"\x41\u00e9\101' }}
{{ true }}{{ True }}{{ false }}{{ none }}{{ None }}{{ [true, none, 1.0, 'a\'b', "q\"", '\n\t\\'] }}
{{ (1) }}{{ (1,) }}{{ () }}{{ 1, 2 }}{{ [1,] }}{{ {'a': 1,} }}{{ {} }}
{{ {'a': 1, 'a': 2} }}{{ {1: 'a', true: 'b', 1.0: 'c'} }}
{{ {[]: 1} }}
{{ {'a': 1} == {'a': 1.0} }}{{ [1] == (1,) }}{{ (1,) == (1,) }}{{ [1, [2]] == [1, [2]] }}{{ {'a':1,'b':2} == {'b':2,'a':1} }}
{{ dict(a=1, **{'b': 2}) }}{{ dict(*[{'x': 1}]) }}{{ [1,2]|join(*['-']) }}{{ 'a'.replace(*('a','b')) }}
{{ dict(a=1, **{'a': 2}) }}
{{ dict(a=1, a=2) }}
{{ dict(**1) }}
{{ range(*[1, 3], 5) }}
{{ dict(**{'a': 1}, b=2) }}
{{ dict(*nope) }}
{{ 'abc'|upper|lower|title }}{{ 'abc'|upper is upper }}{{ 'a' is in 'abc' }}{{ 3 is not odd }}{{ 3 is odd and 4 is even }}
{{ 4 is divisibleby 2 and true }}{{ 4 is divisibleby(2) is true }}
{{ people|groupby('city') }}
{% for g in people|groupby('city') %}{{ g.grouper }}:{{ g.list|map(attribute='name')|join(',') }};{{ g[0] }}{{ g|length }}{% endfor %}
{% for k, v in people|groupby('age', default='z') %}{{ k }}{% endfor %}
{% for k, v in people|groupby('age', default=0) %}{{ k }}{{ v|length }}{% endfor %}
{{ people|sort(attribute='city,name')|map(attribute='name')|list }}{{ people|map(attribute='tags.0', default='-')|list }}{{ people|sum('age') }}
{{ people|selectattr('age', 'defined')|sum(attribute='age') }}{{ people|map(attribute='age')|select|list }}{{ people|max(attribute='name') }}
{{ people|unique(attribute='city')|map(attribute='name')|list }}{{ people|rejectattr('tags')|map('attr','name')|list }}
{{ (people|first).name }}{{ people[1]['name'] }}{{ people[-1].tags[1] }}{{ people|last|items|list }}
{{ deep|pprint }}
{{ long|pprint }}{{ [long, long]|pprint }}{{ {'k': long}|pprint }}
{{ long|wordwrap(20) }}
{{ long|wordwrap(11) }}|{{ long|wordwrap(15, false) }}|{{ ('x' * 30)|wordwrap(7) }}|{{ 'a-b-c-d-e-f-g well-to-do--so'|wordwrap(6) }}
{{ long|indent }}|{{ long|indent(3, true, true) }}|{{ long|truncate(30) }}|{{ long|truncate(30, true) }}|{{ long|wordcount }}|{{ long|title }}
{{ 'see http://x.org/a?b=c and www.y.com, (https://z.net) mail a@b.co mailto:q@r.st ftp.x x.com <http://a.b/c>'|urlize }}
{{ 'http://x.org/aaaaaaaaaaaaaaaaaaaaa'|urlize(10, true, target='_blank', rel='me') }}{{ 'tel:1 ftp://q'|urlize(extra_schemes=['ftp://']) }}
{{ 'a b&c=d/é'|urlencode }}{{ {'a b': 'c&d', 'x': 1}|urlencode }}{{ [('a', 1), ('b', '/')]|urlencode }}{{ 5|urlencode }}
{{ {'class': 'a b', 'id': none, 'x': nope, 'q': '<"'}|xmlattr }}{{ {'a b': 1}|xmlattr }}
{{ '<p>a &amp; b</p> <!-- c --> x   y &eacute; &#65; &#x41; &lt;'|striptags }}
{{ ('<b>'|safe) + '<' }}{{ '<' + ('<b>'|safe) }}{{ ('<%s>'|safe) % '<' }}{{ ('{}'|safe).format('<') }}{{ ('<'|safe) * 2 }}{{ ('<'|safe).join(['<', '>']) }}{{ ('<'|safe)|upper ~ '<' }}{{ ['<'|safe] }}{{ ('a<'|safe).replace('a', '<') }}
{{ ('<a>'|e).striptags() }}{{ ('&lt;'|safe).unescape() }}{{ ('%(x)s'|safe)|format(x='<') }}{{ ('%d %s'|safe) % (3, '<') }}{{ ('<'|e)|e }}{{ '<'|forceescape|forceescape }}{{ ('<a b>'|safe)|indent }}{{ ('<'|safe)[0] is escaped }}{{ ('a b'|safe).split()[0] is escaped }}{{ ('<'|safe)|tojson }}
{{ 10 ** 30 }}{{ 2 ** 100 // 7 }}{{ -(2 ** 70) % 1000 }}{{ 2 ** 64 - 1 }}{{ 2 ** 63 }}{{ -2 ** 63 }}{{ 9223372036854775807 + 1 }}{{ (2 ** 80) / (2 ** 79) }}{{ big * big }}{{ big - big }}{{ big == 1e22 }}{{ big > 1e22 }}{{ big|abs }}{{ big|string|length }}{{ (10 ** 20)|round(-19) }}{{ '%d' % big }}{{ '{:,}'.format(big) }}{{ '%x' % big }}{{ big|tojson }}{{ '123456789012345678901234567890'|int }}{{ 1e20|int }}{{ (2 ** 70)|float }}{{ {big: 1}[10 ** 22] }}{{ big % 7.5 }}{{ hash }}
{{ 7 // 2 }}{{ -7 // 2 }}{{ 7 // -2 }}{{ -7 % 3 }}{{ 7 % -3 }}{{ 7.5 // 2 }}{{ -7.5 % 2 }}{{ 7 / 2 }}{{ 6 / 2 }}{{ 2 ** -1 }}{{ 2 ** 0.5 }}{{ 0.1 + 0.2 }}{{ 1e16 }}{{ 123456789.0 }}{{ 1e-5 }}{{ 1.0 }}{{ 1e22 }}{{ 5 // 0.3 }}{{ -0.0 }}{{ 1e308 * 10 }}
{{ 1 / 0 }}
{{ 1 % 0 }}
{{ 1.0 // 0 }}
{{ 10.0 ** 400 }}
{{ 0 ** -1 }}
{{ 2.5|round }}{{ 3.5|round }}{{ 2.675|round(2) }}{{ 25.0|round(-1) }}{{ 35.0|round(-1) }}{{ 1234.5|round(-2, 'floor') }}{{ 7|round }}{{ 25|round(-1) }}{{ 35|round(-1) }}{{ 1.1|round(1, 'ceil') }}{{ true|round }}
{{ 'a'.upper }}
{{ [1].append }}|{{ {}.update }}|{{ [].nope }}
{{ [1].append(2) }}
{{ {'a':1}.update({}) }}
{{ ''.__class__ }}|{{ ''.__class__.__mro__ }}
{{ [].__len__() }}
{{ '{0.real} {a[b]} {0!r:>5} {{}} {a}'.format(1, a={'b': 2}) }}{{ '{:{}}'.format('x', 5) }}{{ '{:{w}.{p}f}'.format(3.14159, w=8, p=2) }}{{ '{} {}'.format(1, 2) }}{{ '{1} {0}'.format(1, 2) }}{{ '{a!s} {b!a}'.format(a='x', b='é') }}
{{ '{} {0}'.format(1) }}
{{ '{0} {}'.format(1) }}
{{ '{'.format(1) }}
{{ '}'.format(1) }}
{{ '{x}'.format(1) }}
{{ '{0.__class__}|{0.nope}'.format('') }}
{{ '{!x}'.format(1) }}
{{ '%s %s' % (1, 2) }}{{ '%s' % [1] }}{{ '%s' % ((1, 2),) }}{{ '%(a)s-%(b)05d' % {'a': 'x', 'b': 3} }}{{ '%s' % none }}{{ '%s' % nope }}{{ 'abc' % {} }}{{ 'abc' % [] }}
{{ '%s %s' % 1 }}
{{ '%s' % (1, 2) }}
{{ '%d' % '1' }}
{{ 'abc' % 1 }}
{{ '%*d' % (5, 3) }}{{ '%.*f' % (2, 3.14159) }}
{{ "%(a)s"|format(a=1) }}{{ "%s"|format(1, 2) }}
{{ "%s"|format(1, a=2) }}
{{ [1, 2] + [3] }}{{ (1,) + (2,) }}{{ [0] * 3 }}{{ 2 * 'ab' }}{{ 'a' * -1 }}{{ 'a' * true }}
{{ [1] + (2,) }}
{{ 'a' + 1 }}
{{ [1, 'a']|sort }}
{{ [1, 2.5, true]|sort }}{{ ['b', 'A', 'c']|sort }}{{ ['b', 'A']|sort(case_sensitive=true) }}{{ [[2, 1], [1, 5]]|sort }}{{ [none, none]|sort }}{{ 'hello'|sort|join }}{{ d|sort }}
{{ ['a', 'B', 'A', 'b']|unique|join }}{{ [1, 1.0, true, '1']|unique|list }}
{{ [[1]]|unique|list }}
{{ [none, 1]|sum }}
{{ ['a']|sum }}
{{ none|map('upper')|list }}{{ 0|select|list }}{{ false|reject|list }}{{ ''|map('upper')|list }}{{ none|selectattr('a')|list }}
{{ 5|map('upper')|list }}
{{ [1, 2]|map|list }}
{{ []|map|list }}{{ [1]|first }}{{ []|first }}{{ []|last }}{{ []|min }}{{ {}|first }}{{ 'abc'|first }}{{ 'abc'|last }}{{ range(3)|last }}{{ d|last }}
{{ [1]|map('string')|last }}
{{ d|tojson }}{{ d|tojson(indent=2) }}{{ [1.0, 1e100, none, true, 'é\n"\\/\x7f\u2028']|tojson }}{{ 'é😀'|tojson(ensure_ascii=true) }}{{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }}{{ (1, 2)|tojson }}{{ []|tojson(indent=1) }}{{ {'b': 1, 'a': [1, {}]}|tojson(sort_keys=true, indent=4) }}{{ messages|tojson }}
{{ nope|tojson }}
{{ range(3)|tojson }}
{{ {(1,): 2}|tojson }}
{{ {1: 1, 'a': 2}|tojson(sort_keys=true) }}
{{ d.items()|list }}{{ d.items() }}{{ d.keys() }}{{ d.values() }}{{ 'b' in d }}{{ 'b' in d.keys() }}{{ 2 in d.values() }}{{ ('b', 2) in d.items() }}{{ d.keys()|list|length }}{{ d.items()|length }}{{ d.keys() == d.keys() }}
{{ d|dictsort }}{{ d|dictsort(true) }}{{ d|length }}{{ d|list }}{{ d|join(',') }}{{ d.get('zz', 5) }}
{{ u|upper }}{{ u|lower }}{{ u|title }}{{ u|capitalize }}{{ u.swapcase() }}{{ u.casefold() }}{{ u|length }}{{ u[3:6] }}{{ u|reverse }}{{ 'ΑΣ ΑΣΑ Σ'.lower() }}{{ 'ǆ ﬁx'.title() }}{{ u.isalpha() }}{{ '²'.isdigit() }}{{ '½'.isnumeric() }}{{ '一'.isnumeric() }}{{ 'ⅷ'.isupper() }}{{ 'ªb'.islower() }}{{ u|tojson }}{{ [u] }}{{ u|urlencode }}{{ u|center(50) }}{{ u|wordcount }}
{{ ' \u00a0x\u2003'|trim }}{{ 'a\x0bb\x1cc\u2028d'.splitlines() }}{{ '\u3000a\u3000b'.split() }}
{{ 1000|filesizeformat }}{{ 1|filesizeformat }}{{ 999|filesizeformat }}{{ 1500000|filesizeformat }}{{ 1024|filesizeformat(true) }}{{ 1e30|filesizeformat }}{{ '123'|filesizeformat }}{{ big|filesizeformat }}
{{ '12'|int }}{{ '12.9'|int }}{{ 'x'|int(7) }}{{ '0x1A'|int(base=16) }}{{ '1A'|int(0, 16) }}{{ '1_000'|int }}{{ '1__0'|int }}{{ ' 12 '|int }}{{ '+5'|int }}{{ none|int }}{{ true|int }}{{ 2.9|int }}{{ -2.9|int }}{{ '1e3'|int }}{{ '0b11'|int(0, 2) }}{{ '077'|int(0, 8) }}{{ []|int }}{{ '1e5'|float }}{{ 'inf'|float }}{{ 'nan'|float }}{{ '.5'|float }}{{ '5.'|float }}{{ '1_0.5'|float }}{{ 'x'|float(2) }}{{ '0x10'|float }}{{ '-Infinity'|float }}
{{ nope|int }}
{{ nope|float }}
{{ messages|map(attribute='role')|join('|') }}{{ messages[1].content|selectattr('type', 'equalto', 'text')|map(attribute='text')|list }}{{ messages[2].tool_calls[0].arguments|tojson }}{{ messages[2].content is none }}{{ messages[2].content is string }}{{ messages[0]['content'] | trim }}{{ messages|selectattr('role','in',['user','system'])|list|length }}
{{ messages[1:]|length }}{{ messages[::-1]|map(attribute='role')|list }}{{ (messages|last).content|length }}{{ messages|rejectattr('content','none')|map(attribute='role')|list }}
{{ loop }}{{ caller }}{{ varargs }}
{{ lipsum is defined }}{{ range is callable }}{{ namespace is callable }}{{ joiner is callable }}{{ 1 is callable }}{{ nope is callable }}{{ 'upper' is filter }}{{ 'odd' is test }}{{ 'x' is filter }}
{{ [] is sequence }}{{ {} is sequence }}{{ 'a' is sequence }}{{ range(1) is sequence }}{{ d.keys() is sequence }}{{ ([1]|map('string')) is iterable }}{{ 1 is number }}{{ true is number }}{{ 1.0 is integer }}{{ true is integer }}{{ big is integer }}{{ 3.0 is odd }}{{ 'x' is lower }}{{ 1 is lower }}
{{ '3' is odd }}
{{ [1,2,3]|batch(2)|list }}{{ [1,2,3]|batch(2,'x')|list }}{{ [1,2,3,4,5]|slice(3)|list }}{{ [1,2,3,4,5]|slice(3,'x')|list }}{{ 'abcde'|batch(2)|map('join')|list }}
{{ none|length }}
{{ 5|join }}
{{ [[1,2],[3]]|map('sum')|list }}{{ [[3,1],[2]]|map('sort')|list }}{{ ['a','b']|map('replace','a','x')|list }}{{ [1,2]|map('string')|map('upper')|map('center',3)|list }}
{{ 'x'|default('y') }}{{ nope|default('y') }}{{ none|default('y') }}{{ ''|default('y', true) }}{{ nope|d }}{{ d.nope|default(d.b) }}
{{ 1|string + '2' }}{{ '1'|int + 2 }}{{ 'a'|list }}{{ 'ab'|list|join('-') }}{{ [1,[2]]|string }}
""".strip("\n").split("\n")

# White space, over several lines.
MULTILINE = ["  {% if true %}\n  x\n  {% endif %}\n  y\n", "\t{%+ if true %}\nx\n{% endif %}\tz", "{{ 'a' }}\n{{- ' b ' -}}\nc\n\n", "a\r\nb\r{% if 1 %}\r\nc{% endif %}\r\n", "{% for x in [1,2] %}\n    {{ x }}\n{% endfor %}\n\nend\n", "{#- c -#}\n\n x {# d #}\n y\n{#- e +#}\n z", "{%- for x in [1] %}\n  {%- if x %}\n a\n  {%- endif %}\n{%- endfor %}", "{% raw %}\n a {% endraw %}\n b", "  {% raw -%}\n a {%- endraw %}\n b"]


def calls(table, values):
    for value, (name, forms) in itertools.product(values, table.items()):
        for form in forms:
            yield f"{{{{ ({value}).{name}{form} }}}}"


def all_templates():
    yield from STATEMENTS
    yield from MULTILINE
    for value, (name, forms) in itertools.product(VALUES, FILTERS.items()):
        for form in forms:
            yield f"{{{{ ({value})|{name}{form} }}}}"
    for value, (name, forms) in itertools.product(VALUES, TESTS.items()):
        for form in forms:
            yield f"{{{{ ({value}) is {name}{form} }}}}"
    yield from chains(6000)
    yield from calls(TEXT_METHODS, TEXTS + ["none"])
    yield from calls(LIST_METHODS, LISTS + ["range(4)", "'abc'"])
    yield from calls(DICT_METHODS, DICTS)
    yield from calls(NUMBER_METHODS, NUMBERS)
    for a, operator, b in itertools.product(VALUES, OPERATORS, VALUES):
        huge = operator == "**" and b in ("12345678901234567890", "-9223372036854775808", "big")
        makes_sets = operator == "-" and (a in VIEWS or b in VIEWS)
        if not huge and not makes_sets:
            yield f"{{{{ ({a}) {operator} ({b}) }}}}"
    for spec, value in itertools.product(SPECS, NUMBERS + TEXTS[:8] + ["none", "[1]", "nope"]):
        yield "{{ '{:" + spec + "}'.format(" + value + ") }}"
    for percent, value in itertools.product(PERCENTS, VALUES):
        yield "{{ '" + percent + "' % (" + value + ") }}"
    for value, begin, end, step in itertools.product(["'abcdef'", "u", "[1,2,3,4,5]", "range(6)"], ["", "1", "-2", "9"], ["", "3", "-1", "none"], ["", "2", "-1", "-3"]):
        yield f"{{{{ ({value})[{begin}:{end}:{step}] }}}}"
    for value, key in itertools.product(VALUES, ["0", "-1", "'a'", "'items'", "none", "1.0", "true", "[]", "nope", "big"]):
        yield f"{{{{ ({value})[{key}] }}}}"


def chains(count):
    """Filters after filters, and values of all kinds as arguments."""
    draw = random.Random(5)
    # Generators and methods as text are their addresses.
    values = [value for value in VALUES if "map" not in value]
    once = ("items", "reverse", "batch")
    forms = [f"{name}{form}" + ("|list" if name in once and "|" not in form else "") for name, forms in FILTERS.items() for form in forms if name not in ("attr", "nosuch") and "nosuch" not in form]
    fixed = ("attr", "center", "indent", "batch", "items", "reverse", "round", "int", "slice", "urlize", "wordwrap", "tojson")
    for _ in range(count):
        value = draw.choice(values)
        kind = draw.randrange(4)
        if kind == 0:
            yield f"{{{{ ({value})|{draw.choice(forms)}|{draw.choice(forms)} }}}}"
        elif kind == 1:
            yield f"{{{{ ({value})|{draw.choice(forms)}|{draw.choice(forms)}|{draw.choice(forms)} }}}}"
        elif kind == 2:
            name = draw.choice([name for name in FILTERS if name not in fixed])
            yield f"{{{{ ({value})|{name}({draw.choice(values)}) }}}}"
        else:
            yield f"{{% for x in ({value})|{draw.choice(forms)} %}}{{{{ x }}}}{{{{ loop.last }}}};{{% endfor %}}"


# Answers that are not to be compared: objects print their addresses, complex numbers are refused.
VAGUE = re.compile(r" at 0x[0-9a-f]+|^\(-?[0-9.e+-]+j\)$|<built-in|<bound method|mappingproxy")


@functools.lru_cache(maxsize=8)
def compiled(made, template):
    return made.from_string(template)


def judged(made, template, variables):
    try:
        return {"text": compiled(made, template).render(**variables)}
    except Exception as error:  # whatever a template can raise
        return {"error": f"{type(error).__name__}: {error}"}


def run(program, inputs):
    lines = "".join(json.dumps(x) + "\n" for x in inputs)
    done = subprocess.run([program], input=lines, stdout=subprocess.PIPE, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(inputs):
        sys.exit(f"{program}: {len(answers)} answers to {len(inputs)} templates")
    return answers


def compare(program, inputs, names):
    made = environment()
    answers = run(program, inputs)
    different = 0
    for i, (given, answer) in enumerate(zip(inputs, answers)):
        wanted = judged(made, given["template"], given["variables"])
        if "text" in wanted and VAGUE.search(wanted["text"]):
            continue
        same = wanted["text"] == answer.get("text") if "text" in wanted else "error" in answer
        if not same:
            different += 1
            if different <= 200:
                name = names[i] if names else given["template"]
                print(f"{name}\n  jinja2: {json.dumps(wanted)[:600]}\n  sinter: {json.dumps(answer)[:600]}")
    print(f"{len(inputs)} templates, {different} differ")
    return 1 if different else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--folder", nargs=2)
    options = parser.parse_args()
    if options.folder:
        folder, conversations = options.folder
        rows = json.loads(pathlib.Path(conversations).read_text())
        inputs, names = [], []
        for path in sorted(pathlib.Path(folder).glob("*.jinja")):
            for i, row in enumerate(rows):
                inputs.append({"template": path.read_text(), "variables": row})
                names.append(f"{path.name} with conversation {i}")
        return compare(options.program, inputs, names)
    templates = list(all_templates())
    if not options.all:
        first = len(STATEMENTS) + len(MULTILINE)
        templates = templates[:first] + random.Random(11).sample(templates[first:], 4000)
    return compare(options.program, [{"template": t, "variables": VARIABLES} for t in templates], None)


if __name__ == "__main__":
    sys.exit(main())
