"""An answer says the same, however a model dresses it up; what it only mentions it does not say."""

import itertools

import pytest

from itune_jax.grading import extract
from itune_jax.grading import letters
from itune_jax.grading import numbers

OPTIONS = ("insulin", "glucagon", "insulin receptor", "none of these")
DRESSED = (
  *("{}", "({})", "{}.", "{})", "**{}**", "**({})**", "*{}*", "__{}__", "_{}_", "`{}`", '"{}"', "“{}”", "[{}]"),
  *(r"\boxed{{{}}}", r"$\boxed{{\text{{{}}}}}$", r"\({}\)"),
)
SAID = (
  *(
    "{}",
    "The answer is {}",
    "The correct answer is: {}",
    "Answer: {}",
    "**Answer:** {}",
    "## Answer\n{}",
    "Antwort: {}",
  ),
  *(
    "答案是{}",
    "```\n{}\n```",
    "Not sure. {}",
    "<think>(A)? (C)? The answer is D</think>\n\n{}",
    "I choose {}",
    "Option {}",
  ),
  *("(A) and (D) are wrong. Final answer: {}", "The answer is option {}", "answer - {}", "It's {}", "Sure!\n\n{}"),
)


@pytest.mark.parametrize("said", SAID)
def test_a_letter_is_read_in_every_dress(said):
  for (i, _), dress in itertools.product(enumerate(OPTIONS), DRESSED):
    name = letters.letter(i)
    wide = chr(ord(name) + 0xFEE0)
    for shown in (name, wide):
      text = said.format(dress.format(shown))
      assert letters.chosen(text, OPTIONS) == name, text


def test_a_small_letter_is_one_where_it_is_alone():
  for text in ("b", "(b)", "b.", "**b**", "Answer: b", "The answer is (b)."):
    assert letters.chosen(text, OPTIONS) == "B", text
  assert letters.chosen("The answer is a hormone of the liver", OPTIONS) == extract.INVALID


NONE = (
  *("", "I cannot answer that.", "A patient with pain", "Either (A) or (B)", "Option A or option B", "A and B", "A, B"),
  *(
    "The answer is E",
    "E",
    "<think>The answer is B",
    "Option A is wrong.",
    "It is not option A.",
    "vitamin B deficiency",
  ),
)


@pytest.mark.parametrize("text", NONE)
def test_what_says_no_letter_or_several_is_none(text):
  assert letters.chosen(text, OPTIONS) == extract.INVALID


def test_a_number_is_one_in_every_script():
  for zero, comma, point in (
    (0x30, ",", "."),
    (0x660, "\u066c", "\u066b"),
    (0x966, ",", "."),
    (0xFF10, "\uff0c", "\uff0e"),
  ):
    digits = str.maketrans({str(i): chr(zero + i) for i in range(10)} | {",": comma, ".": point})
    for plain in ("1,234,567.5", "-0.25", "12", "1,234"):
      assert str(numbers.final(f"= {plain.translate(digits)} .")) == plain.replace(",", ""), (plain, zero)
