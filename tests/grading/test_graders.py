"""Graders against slow references: numbers, normalised text, typed JSON; and checks that cannot be judged by."""

import dataclasses
import decimal
import fractions
import json
import sys
import types
import unicodedata

import pytest
from hypothesis import strategies as st

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.data import mixture
from itune_jax.evals import items
from itune_jax.grading import checkers
from itune_jax.grading import normal
from itune_jax.grading import numbers
from tests import fuzz

NUMBERS = {
  "−5": ["-5"],
  "+5": ["5"],
  ".5": ["0.5"],
  "−.5": ["-0.5"],
  "1e3": ["1000"],
  "1E+3": ["1000"],
  "1e−3": ["0.001"],
  "5em": ["5"],
  "1,234,567.89": ["1234567.89"],
  "12,34,567": ["1234567"],
  "1\u202f234": ["1234"],
  "3,4": ["3", "4"],
  "1234,567": ["1234", "567"],
  "1,2345": ["1", "2345"],
  "10-5": ["10", "5"],
  "x-5": ["5"],
  "(3)-4": ["3", "4"],
  "= -4": ["-4"],
  "-$5": ["-5"],
  "$-5": ["-5"],
  "- 5 apples": ["5"],
  "5.": ["5"],
  "٣٫ ٤": ["3", "4"],
  "12.0": ["12"],
  "50%": ["50"],
  "none": [],
}


@pytest.mark.parametrize("text", NUMBERS)
def test_the_grammar_of_numbers(text):
  assert numbers.all_of(text) == [decimal.Decimal(number) for number in NUMBERS[text]]


def slow_numbers(text):
  """The documented grammar, read character by character."""
  found, i = [], 0
  while i < len(text):
    start = i
    negative = False
    if text[i] in "-+\u2212" and not (i and (text[i - 1].isalnum() or text[i - 1] in "_)]")):
      negative, i = text[i] != "+", i + 1
    elif i and text[i].isdecimal() and text[i - 1].isdecimal():
      i += 1
      continue
    if i < len(text) and text[i] in "$€£¥₹" and text[i + 1 : i + 2]:
      i += 1 + (text[i + 1].isspace() and text[i + 2 : i + 3] != "")
    number, end = slow_number(text, i) if i == start or i <= len(text) else (None, i)
    if number is None:
      i = start + 1
      continue
    found.append(-number if negative else number)
    i = end
  return found


def digits(text, i):
  end = i
  while end < len(text) and text[end].isdecimal():
    end += 1
  return end


def slow_number(text, i):
  """(the number that begins at i, where it ends), or (None, i)."""
  if i and text[i - 1 : i] and (text[i - 1].isdecimal() or text[i - 1] == "."):
    return None, i
  end = digits(text, i)
  whole = text[i:end]
  if whole and len(whole) <= 3:
    groups, at = [whole], end
    while (
      text[at : at + 1] in (",", "\u00a0", "\u2009", "\u202f")
      and text[at : at + 1]
      and digits(text, at + 1) - at - 1 == 3
    ):
      groups, at = [*groups, text[at + 1 : at + 4]], at + 4
    if len(groups) == 1 and len(whole) <= 2:
      pairs, at = [whole], end
      while text[at : at + 1] == "," and digits(text, at + 1) - at - 1 == 2:
        pairs, at = [*pairs, text[at + 1 : at + 3]], at + 3
      if len(pairs) > 1 and text[at : at + 1] == "," and digits(text, at + 1) - at - 1 == 3:
        groups, at = [*pairs, text[at + 1 : at + 4]], at + 4
      else:
        at = end
    if len(groups) > 1:
      whole, end = "".join(groups), at
  behind = digits(text, end + 1)
  decimals = ""
  if text[end : end + 1] == "." and behind > end + 1:
    decimals, end = text[end + 1 : behind], behind
  if not whole and not decimals:
    return None, i
  exponent = 0
  if text[end : end + 1] in ("e", "E") and text[end : end + 1]:
    signed = end + 1 + (text[end + 1 : end + 2] in ("-", "+", "\u2212") and text[end + 1 : end + 2] != "")
    last = digits(text, signed)
    follows = text[last : last + 1]
    if 0 < last - signed <= 4 and not (follows.isalnum() or follows == "_"):
      size = int(text[signed:last])
      exponent, end = (-size if text[end + 1] in "-\u2212" else size), last
  value = fractions.Fraction(int(whole or "0")) + (
    fractions.Fraction(int(decimals), 10 ** len(decimals)) if decimals else 0
  )
  return value * fractions.Fraction(10) ** exponent, end


@fuzz.given(st.text("0123456789,.-+\u2212eE $€ x)\u202f٣#", max_size=14))
def test_numbers_are_those_of_the_slow_reading(text):
  """All numbers of any text."""
  assert [fractions.Fraction(number) for number in numbers.all_of(text)] == slow_numbers(text), text


def slow_thousands(text, at):
  """Whether a comma stands in front of groups of digits that end in one of three, behind one to three digits."""
  before = digits_before(text, at)
  groups = []
  while text[at : at + 1] == ",":
    end = at + 1
    while text[end : end + 1].isdecimal():
      end += 1
    groups.append(end - at - 1)
    at = end
  western = groups and groups[0] == 3
  indian = (
    len(groups) > 1
    and groups[0] == 2
    and any(size == 3 and all(one == 2 for one in groups[:i]) for i, size in enumerate(groups))
  )
  return 1 <= before <= 3 and bool(western or indian)


def digits_before(text, at):
  count = 0
  while at - count > 0 and text[at - count - 1].isdecimal():
    count += 1
  return count


def slow_normal(text):
  """Sign by sign: what is no punctuation stays, and of punctuation what makes a number another."""
  plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
  for dash in "\u2212\u2012\u2013":
    plain = plain.replace(dash, "-")
  plain = "".join(c for i, c in enumerate(plain) if not (c == "," and slow_thousands(plain, i)))
  kept = ""
  for i, character in enumerate(plain):
    before, behind = plain[i - 1 : i] if i else "", plain[i + 1 : i + 2]
    ascii_sign = character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    punctuation = ascii_sign or unicodedata.category(character)[0] == "P"
    digit_behind = behind.isdecimal() or (character == "-" and behind == "." and plain[i + 2 : i + 3].isdecimal())
    of_a_number = before.isdecimal() and behind.isdecimal()
    of_a_number = of_a_number or (character in "-." and digit_behind and not before.isalnum())
    if not punctuation or of_a_number:
      kept += character
  return " ".join(kept.split())


@fuzz.given(st.text("0123456789,.-+\u2212/:^ ax!²٣(", max_size=12))
def test_numbers_of_texts_are_kept_as_in_the_slow_reading(text):
  """What tells numbers apart stays."""
  assert normal.normalised(text) == slow_normal(text), text


@pytest.mark.parametrize(
  ("output", "answer", "passes"),
  [
    ("It is 15.", "1.5", False),
    ("It is 1.5.", "1.5", True),
    ("34", "3/4", False),
    ("(3/4)", "3/4", True),
    ("It is 5", "-5", False),
    ("It is \u22125!", "-5", True),
    ("It is -5", "5", False),
    ("5 - 3", "5", True),
    ("costs 1,234 dollars", "1234", True),
    ("3,4", "34", False),
    ("at 12:30", "1230", False),
    ("covid-19", "covid19", True),
    ("我有一只猫。", "猫", True),
    ("我有一只狗。", "猫", False),
    ("これは猫です", "猫", True),
    ("มีแมวหนึ่งตัว", "แมว", True),
    ("concatenate", "cat", False),
    ("猫cat", "cat", False),
  ],
)
def test_numbers_and_words_of_every_script_are_found(output, answer, passes):
  assert normal.contains(output, answer) == passes


@fuzz.given(st.text(max_size=12), st.text(max_size=12))
def test_texts_are_the_same_as_in_the_slow_reading(a, b):
  """Letters and marks of every script are kept; what leaves nothing is compared as it is."""
  assert normal.normalised(a) == slow_normal(a)
  for other in (b, a.upper(), f" {a}!", unicodedata.normalize("NFD", a)):
    left, right = slow_normal(a), slow_normal(other)
    assert normal.same(a, other) == (left == right if left and right else a.strip() == other.strip())
  letters = [c for c in unicodedata.normalize("NFC", a.lower()) if unicodedata.category(c)[0] in "LMN"]
  assert [c for c in normal.normalised(a) if unicodedata.category(c)[0] in "LMN"] == [
    c for c in unicodedata.normalize("NFC", "".join(letters)) if unicodedata.category(c)[0] in "LMN"
  ] or not a.isascii()


def canonical(value):
  """A JSON value as text that tells types apart: equal values and no others have one."""
  if isinstance(value, dict):
    return "{" + ",".join(f"{json.dumps(k)}:{canonical(value[k])}" for k in sorted(value)) + "}"
  if isinstance(value, list):
    return "[" + ",".join(map(canonical, value)) + "]"
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  return f"number {fractions.Fraction(value)}" if number else json.dumps(value)


finite = st.recursive(
  st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.0, 1.0, -1.0, 0.5]),
    st.sampled_from(["", "1", "a"]),
  ),
  lambda one: st.lists(one, max_size=2) | st.dictionaries(st.sampled_from("ab"), one, max_size=2),
  max_leaves=3,
)


@fuzz.given(finite, finite)
def test_json_is_equal_with_its_types(a, b):
  """True is not 1, 1 is 1.0; the order of keys and spacing do not count."""
  equal = canonical(a) == canonical(b)
  assert jsontext.same(a, b) == equal
  assert checkers.json_equal(json.dumps(a, indent=1), {"answer": json.dumps(b)}) == equal
  if not isinstance(b, str):
    assert checkers.json_equal(json.dumps(a), {"answer": b}) == equal


JUDGED = [
  ("", {"name": "any_of", "answers": ["😊"]}, False),
  ("😊", {"name": "any_of", "answers": ["😊"]}, True),
  ("-", {"name": "any_of", "answers": ["+"]}, False),
  ("का", {"name": "any_of", "answers": ["कि"]}, False),
  ("CAFE\u0301!", {"name": "any_of", "answers": ["caf\u00e9"]}, True),
  ("−5", {"name": "final_number", "answer": "5"}, False),
  (".5", {"name": "final_number", "answer": 5}, False),
  ("1e3", {"name": "final_number", "answer": 3}, False),
  ("1e3", {"name": "final_number", "answer": 1000}, True),
  ("true", {"name": "json", "answer": "1"}, False),
  ('{"a": 1}', {"name": "json", "answer": {"a": 1.0}}, True),
  ("NaN", {"name": "json", "answer": "null"}, False),
  ("[" * 9999, {"name": "json", "answer": "[]"}, False),
  ('{"a": 1, "a": 2}', {"name": "json", "answer": {"a": 2}}, False),
  ("It is Paris, France.", {"name": "contains", "answer": "paris"}, True),
  ("Parisian", {"name": "contains", "answer": "Paris"}, False),
  ("7", {"name": "exact", "answer": 7}, True),
]


@pytest.mark.parametrize("output,check,passes", JUDGED)
def test_what_passes(output, check, passes):
  assert checkers.judge(output, check) is passes


WRONG = [
  ({"name": "magic"}, "unknown check 'magic'; checks are exact, any_of, contains, json, final_number, ifeval, or"),
  ({"name": ["exact"]}, "unknown check"),
  ({"name": "exact"}, "check has no `answer`; it must be text"),
  ({"name": "exact", "answer": True}, "check.answer is a boolean"),
  ({"name": "exact", "answer": ["a"]}, "check.answer is a list"),
  ({"name": "exact", "answer": "a", "anwsers": 1}, "unknown key 'anwsers'; a check 'exact' has answer, choices"),
  ({"name": "any_of", "answers": "a"}, "check.answers is text"),
  ({"name": "any_of", "answers": []}, "check.answers is a list"),
  ({"name": "any_of", "answers": ["x", " "]}, "has an empty one"),
  ({"name": "contains", "answer": ""}, "check.answer is empty"),
  ({"name": "exact", "answer": "  "}, "check.answer is empty"),
  ({"name": "json", "answer": "{"}, "is no JSON"),
  ({"name": "json", "answer": "[" * 9999}, "nested more than 100 deep"),
  ({"name": "json", "answer": "NaN"}, "not finite"),
  ({"name": "final_number", "answer": "none"}, "holds no number"),
  ({"name": "final_number", "answer": "#### none 5 #### x"}, "holds no number"),
  ({"choices": ["A", "B"], "answer": 1}, "check.answer 1 must be one of check.choices"),
  ({"choices": ["A", "B"], "answer": "C"}, "check.answer 'C' must be one of check.choices"),
  ({"choices": ["A", "A"], "answer": "A"}, "must be two texts or more, which differ"),
  ({"choices": "AB", "answer": "A"}, "must be two texts or more"),
  ({"name": "os:system"}, "'os:system' is imported only where the run names it"),
]


def source(tmp_path, *rows):
  (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  return mixture.Source(name="s", path=str(tmp_path / "x.jsonl"))


@pytest.mark.parametrize("check,reason", WRONG)
def test_a_check_that_cannot_be_judged_by_is_found_when_it_is_read(check, reason, tmp_path):
  rows = [{"question": "q", "answer": "a"}, {"question": "q2", "answer": "a", "check": check}]
  with pytest.raises(errors.InputError, match=reason) as caught:
    list(items.Items(source=source(tmp_path, *rows)).items())
  assert "x.jsonl:2: " in str(caught.value) and "\n" not in str(caught.value)


def test_items_know_their_place_and_have_ids_of_their_own(tmp_path):
  rows = [{"question": "q", "answer": "a"}, {"question": "q", "answer": "b", "check": {"choices": ["a", "b"]}}]
  first, second = items.Items(source=source(tmp_path, *rows), default_check="any_of").items()
  assert first.shown["check"] == {"name": "any_of", "answers": ["a"]} and first.called.endswith("x.jsonl:1")
  assert second.choices == ("a", "b")
  with pytest.raises(errors.InputError, match=r"x\.jsonl:2: it has the id '7' of an earlier row"):
    list(items.Items(source=source(tmp_path, *({**row, "id": 7} for row in rows))).items())


def test_own_checkers_are_named_by_the_run(tmp_path, monkeypatch):
  own = types.ModuleType("own_checks")
  own.shorter = lambda output, check: len(output) < check["most"]

  @dataclasses.dataclass(frozen=True)
  class Vowel(checkers.Checker):
    keys = ("at",)

    def __call__(self, output, check):
      return output[check["at"]] in "aeiou"

    def problem(self, check):
      return "" if isinstance(check.get("at"), int) else "check.at is no place"

  own.Vowel, own.no = Vowel, 5
  monkeypatch.setitem(sys.modules, "own_checks", own)
  names = ("own_checks:shorter", "own_checks:Vowel")
  assert checkers.judge("ab", {"name": names[0], "most": 3}, names) is True
  assert checkers.judge("ab", {"name": names[1], "at": 1}, names) is False
  rows = [{"question": "q", "answer": "a", "check": {"name": names[1]}}]
  with pytest.raises(errors.InputError, match="check.at is no place"):
    list(items.Items(source=source(tmp_path, *rows), checkers=names).items())
  for name, reason in (
    ("own_checks:none", "has no 'none'"),
    ("no_such:x", "cannot be imported"),
    ("own_checks:no", "neither"),
  ):
    with pytest.raises(errors.InputError, match=reason):
      items.Items(source=source(tmp_path), checkers=(name,))


names = st.one_of(st.sampled_from([*checkers.CHECKERS, "os:system", "x"]), fuzz.values)
keys = st.sampled_from(["answer", "answers", "choices", "more"])


@fuzz.given(
  st.text(max_size=10) | st.sampled_from(["[" * 5000, "1e9999", "####"]),
  names,
  st.dictionaries(keys, fuzz.values, max_size=3),
)
def test_any_check_judges_or_is_refused(output, name, rest):
  """Checks of any name and any values."""
  passed = fuzz.outcome(lambda: checkers.judge(output, {"name": name, **rest}))
  assert passed in (True, False, None)
