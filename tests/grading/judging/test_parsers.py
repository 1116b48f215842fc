"""Verdicts are read as their makers read them: official rules, written down again from their definition, on judges'
texts that are cut, mixed and garbled."""

import ast
import random
import re

import pytest

from itune_jax.grading.judging import parsers

TEXTS = 1500
BITS = (
  *("[[A]]", "[[B]]", "[[C]]", "[[A>>B]]", "[[B>A]]", "[[A=B]]", "[A>B]", "[[a<<b]]", "[[AB]]", "[B]", "[[A", "A]]"),
  *(
    "[[5]]",
    "[[10]]",
    "[[7.5]]",
    "[[8.]]",
    "[[05]]",
    "[3]",
    "[ 4 ]",
    "[[.5]]",
    "[[-1]]",
    "[2023]",
    "[[6]/10]",
    "[[٣]]",
  ),
  *("[[7,8]]", "[[7.5, 7.55]]", "[9,2]", "[[1,  2]]", "[[08,9]]", "[[3,3.1]]"),
  *(
    "Output (a)",
    "Output (b)",
    "\nOutput (a)",
    "\n Output (b)",
    "Therefore, Output (a) is better.",
    "Output (b) is better!",
  ),
  *("m", "M", "\n", " ", "Rating:", "The answer of assistant A is right.", "Begründung: ß", "I cannot judge this."),
)


def texts():
  rng = random.Random(0)
  for _ in range(TEXTS):
    text = rng.choice(("", " ", "\n")).join(rng.choices(BITS, k=rng.randint(0, 7)))
    if rng.random() < 0.3 and text:
      at = rng.randrange(len(text))
      text = text[:at] + rng.choice(("", "[", "]", "x", " ")) + text[at + 1 :]
    yield text[: rng.randint(0, len(text))] if rng.random() < 0.2 else text


def literal(text):
  """What Python makes of it; what it does not read ends FastChat's judging, and is no verdict here."""
  try:
    return ast.literal_eval(text)
  except SyntaxError:
    return None


def fastchat_rating(judgment):
  match = re.search(r"\[\[(\d+\.?\d*)\]\]", judgment) or re.search(r"\[(\d+\.?\d*)\]", judgment)
  return literal(match.groups()[0]) if match else None


def fastchat_pair(judgment):
  if "[[A]]" in judgment:
    return 1
  if "[[B]]" in judgment:
    return 0
  return 0.5 if "[[C]]" in judgment else None


def fastchat_two_ratings(judgment):
  two = r"\[(\d+\.?\d*),\s?(\d+\.?\d*)\]"
  match = re.search(rf"\[{two}\]", judgment) or re.search(two, judgment)
  scores = [literal(s.strip()) for s in match.groups()] if match else [None]
  if None in scores:
    return None
  if abs(scores[0] - scores[1]) <= 0.1:
    return 0.5
  return 1 if scores[0] > scores[1] else 0


def arena_label(judgment):
  for pattern in (r"\[\[([AB<>=]+)\]\]", r"\[([AB<>=]+)\]"):
    matches = [m for m in re.compile(pattern).findall(judgment.upper()) if m != ""]
    if len(set(matches)) > 0:
      return matches[-1].strip("\n")
  return None


def arena_worth(judgment):
  weight = 3
  to_score = {"A>B": [1], "A>>B": [1] * weight, "A=B": [0.5], "A<<B": [0] * weight, "A<B": [0]}
  to_score |= {"B>A": [0], "B>>A": [0] * weight, "B=A": [0.5], "B<<A": [1] * weight, "B<A": [1]}
  found = to_score.get(arena_label(judgment))
  return found and (found[0], len(found))


def llmbar(judgment, one, two):
  completion = judgment.strip()
  return next((v for v, exp in ((1, one), (0, two)) if re.compile(exp).search(completion)), None)


OFFICIAL = {
  "rating": fastchat_rating,
  "pair": fastchat_pair,
  "two_ratings": fastchat_two_ratings,
  "output_letter": lambda text: llmbar(text, "(?:^|\n) ?Output \\(a\\)", "(?:^|\n) ?Output \\(b\\)"),
  "output_better": lambda text: llmbar(text, "Output \\(a\\) is better.", "Output \\(b\\) is better."),
  "model_name": lambda text: {"m": 1, "M": 0}.get(text.strip()),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_verdicts_are_the_official_ones(name):
  read = 0
  for text in texts():
    official = OFFICIAL[name](text)
    assert parsers.PARSERS[name](text) == official, text
    read += official is not None
  print(f"{name}: 0 differences on {TEXTS} texts, {read} with a verdict")
  assert 0 < read < TEXTS


def test_arena_labels_are_the_official_ones():
  read = 0
  for text in texts():
    assert parsers.label(text) == arena_label(text), text
    assert parsers.ARENA.get(parsers.label(text)) == arena_worth(text), text
    read += arena_worth(text) is not None
  print(f"arena: 0 differences on {TEXTS} texts, {read} with a verdict")
  assert read > 300
