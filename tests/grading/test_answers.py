"""Short answers: what is read from a response, and which are the same."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itune_jax.grading import bbh
from itune_jax.grading import extract
from itune_jax.grading import letters
from itune_jax.grading import math_answers
from itune_jax.grading import math_equal
from itune_jax.grading import number_words
from itune_jax.grading import rouge

COLOURS = "Which?\nOptions:\n(A) red\n(B) dark red\n(C) blue"


@pytest.mark.parametrize(
  ("text", "strict", "flexible"),
  [
    ("6 * 12 = 72\n#### 72", "72", "72"),
    ("#### 1,234.", "1,234.", "1,234."),
    ("#### \u221272", extract.INVALID, "72"),  # the minus sign of Unicode: the patterns know "-" alone
    ("It costs $5", extract.INVALID, "$5"),
    ("#### 7 or #### 8", "7", "8"),
    ("seven", extract.INVALID, extract.INVALID),
    ("", extract.INVALID, extract.INVALID),
  ],
)
def test_gsm8k(text, strict, flexible):
  assert extract.gsm8k_strict(text) == strict
  assert extract.gsm8k_flexible(text) == flexible


def test_gsm8k_verdicts_ignore_what_does_not_count():
  gold = "He has $<<1000+234=1234>>1234.\n#### 1,234"
  assert extract.gsm8k_match("$1,234.", gold) and not extract.gsm8k_match("1234.0", gold)
  assert extract.gsm8k_strict("The answer is 1,234.", sentence=True) == "1,234"
  assert extract.gsm8k_official_match("#### 1234", gold) and not extract.gsm8k_official_match("1234", gold)
  with pytest.raises(ValueError, match="no number behind"):
    extract.gsm8k_official_match("#### 1", "none")


@pytest.mark.parametrize(
  ("text", "first", "last"),
  [
    ("(B) or (C)", "(B)", "(C)"),
    ("dark red!", "(B)", "(B)"),
    ("Red, or blue", "(A)", "(C)"),
    ("Answer: C", "(C)", "(C)"),
    ("b", extract.INVALID, extract.INVALID),
  ],
)
def test_letters(text, first, last):
  choices = ("red", "dark red", "blue")
  assert (letters.named(text, choices, 0), letters.named(text, choices, -1)) == (first, last)
  assert bbh.flexible("snarks", text, COLOURS, 0) == first


@pytest.mark.parametrize(
  ("task", "text", "which", "answer"),
  [
    ("boolean_expressions", "True? No, False.", -1, "False"),
    ("web_of_lies", "She Tells The Truth", 0, "yes"),
    ("sports_understanding", "It is not plausible.", -1, "no"),
    ("object_counting", "There are twenty one of them", -1, "21"),
    ("multistep_arithmetic_two", "-3 + 5 = 2", 0, "-3"),
    ("formal_fallacies", "unclear", 0, extract.INVALID),
  ],
)
def test_bbh(task, text, which, answer):
  assert bbh.flexible(task, text, "", which) == answer


def test_bbh_sorts_and_compares():
  question = "Sort the following words alphabetically: List: pear apple fig"
  assert bbh.flexible("word_sorting", "pear? No: apple fig pear", question, 0) == "apple fig pear"
  assert bbh.behind_words("So the answer is (B).") == "(B)"
  assert bbh.in_sentence("The answer: yes!") == "yes"
  assert bbh.loosely('"(b)".', "(B)") and not bbh.loosely("B", "(B)")
  assert len(bbh.TASKS) == 27


def test_number_words_that_are_none():
  """word2number raises for these; an evaluation goes on."""
  assert [number_words.found(text, 0) for text in ("thousand thousand", "million five", "trillion")] == ["", "", ""]


@pytest.mark.parametrize(
  ("text", "inside"),
  [
    (r"so \boxed{\frac{1}{2}} or \boxed{x^{2}}.", "x^{2}"),
    (r"$\boxed 7$", "7"),
    (r"\fbox{3}", "3"),
    (r"\boxed{\frac{1}{2}", None),
    ("7", None),
  ],
)
def test_boxed(text, inside):
  assert math_answers.boxed(text) == inside


def test_math_forms():
  assert math_answers.hendrycks_same(r"\dfrac12", "1/2") and math_answers.hendrycks_same("x=0.5", r"\frac{1}{2}")
  assert not math_answers.hendrycks_same("a/b", r"\frac{a}{b}") and math_answers.hendrycks_same("a/b", "a/b")
  assert math_answers.minerva_form(r"$2\pi$ cm") == r"2\pi" and math_answers.minerva_form("1,234") == "1234"
  assert math_answers.minerva_said("Final Answer: The final answer is $4$. ") == "$4$"
  assert math_answers.between_dollars("so $x$ is $3$") == "x$ is $3"


def test_math_verify_has_a_limit_for_each_answer():
  """One that takes for ever, or all memory, is ended alone; the next one is judged. It may be asked from a thread."""
  pytest.importorskip("math_verify")
  with math_equal.Comparer(seconds=60) as comparer:  # far more than a busy machine takes for these
    assert comparer.verdict(r"$\boxed{\frac{1}{2}}$", "0.5") == (True, "")
    comparer.seconds = 1
    assert comparer.verdict("$4$", "$100000000!$") == (False, "time")
    comparer.seconds = 60
    assert comparer.verdict("$3$", "so it is 3.0") == (True, "")
    assert comparer.verdict("$2$", "") == (False, "")


TOKENS = st.lists(st.sampled_from("abcd"), max_size=8)


@given(TOKENS, TOKENS)
def test_rouge_l_is_the_longest_common_subsequence(said, wanted):
  """Against all subsequences, one by one."""

  def subsequences(words):
    return {tuple(w for i, w in enumerate(words) if bits >> i & 1) for bits in range(1 << len(words))}

  longest = max(map(len, subsequences(said) & subsequences(wanted)))
  f1 = 2 * longest / (len(said) + len(wanted)) if longest else 0.0
  assert abs(rouge.rouge_l(said, wanted) - f1) < 1e-12


def test_rouge_takes_the_best_reference_and_stems():
  scores = rouge.scores("The runner is running!", ["nothing", "the runners run"])
  assert scores.rouge1 == pytest.approx(6 / 7) and not scores.exact_match
  assert rouge.scores("It's  YES.", ["no", "its yes"]).exact_match
  assert rouge.stemmed("Relational running it's 3.5") == ["relat", "run", "it", "s", "3", "5"]
  with pytest.raises(ValueError, match="no reference"):
    rouge.scores("a", [])


@pytest.mark.parametrize("loop", ["{", "$a ", "\\boxed{", "\\frac", "\\sqrt", "\\text{a"])
def test_the_answer_of_a_model_that_loops_is_read_at_once(loop):
  """Each place of 10,000 where a command begins was followed to the end of the line: half a minute for one answer."""
  began = time.process_time()
  math_answers.minerva_form(loop * (10_000 // len(loop)))
  assert time.process_time() - began < 3
