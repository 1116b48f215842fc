"""IFEval's kinds, loose variants, refusals; sentences by NLTK's own parameters; a language that is always the same."""

import concurrent.futures
import hashlib
import json
import os
import random
import re

import langdetect
import pytest
from hypothesis import strategies as st

from itune_jax.core import errors
from itune_jax.grading.ifeval import kinds as kinds_lib
from itune_jax.grading.ifeval import texts
from itune_jax.grading.ifeval import verdicts
from tests import fuzz
from tests.grading import ifeval_answers
from tests.grading import ifeval_changes

# The digest of NLTK's own data `punkt_tab/english` (156 abbreviations, 37 collocations, 39 starters, 20,366 words).
PUNKT_TAB = "05d1b12e48957bd1e1d458276076802cde540d5f3c0785efbd5c522ad2703023"

# kind, kwargs, texts that follow, texts that do not
CASES = [
  ("keywords:existence", {"keywords": ["a.b", "sea"]}, ["A-B, Sea"], ["sea", "ab sea"]),
  ("keywords:frequency", {"keyword": " the ", "frequency": 2, "relation": "at least"}, ["The other"], ["the", "one"]),
  ("keywords:forbidden_words", {"forbidden_words": ["sea"]}, ["season"], ["the SEA", "sea"]),
  ("keywords:letter_frequency", {"letter": "!", "let_frequency": 2, "let_relation": "less than"}, ["Oh!"], ["Oh!!"]),
  ("language:response_language", {"language": "de"}, ["Das ist ein schöner Tag.", "12"], ["It is a lovely day."]),
  (
    "length_constraints:number_sentences",
    {"num_sentences": 2, "relation": "less than"},
    ["Mr. Smith of the U.S. Navy paid 3.50 to Dr. Jones."],
    ["He came. He saw."],
  ),
  ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, ["a *** b", "***\na\n***\nb"], ["a", "a *** *** b"]),
  ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, ["it's so"], ["so-so", "a e\u0301e"]),
  (
    "length_constraints:nth_paragraph_first_word",
    {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Sea"},
    ["a\n\n'sea', b"],
    ["a\n\n\n\nsea", "sea\n\na", "sea", "a\n\nseas"],
  ),
  ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[a][b]"], ["[a\n] [b]", "[[a]"]),
  ("detectable_content:postscript", {"postscript_marker": "P.S."}, ["a p. s. b", "P.S."], ["ps", "P.S"]),
  (
    "detectable_format:number_bullet_lists",
    {"num_bullets": 2},
    ["* a\n - b", "\n\n* a\n* b"],
    ["* a", "*\n* a", "** a"],
  ),
  ("detectable_format:constrained_response", {}, ["So: My answer is no."], ["my answer is no."]),
  (
    "detectable_format:number_highlighted_sections",
    {"num_highlights": 2},
    ["**a** *b*", "*a* *b*", "***a***"],
    ["**a**", "** ** *a*", "*a\nb* *c*"],
  ),
  (
    "detectable_format:multiple_sections",
    {"section_spliter": "Day", "num_sections": 2},
    ["Day 1 a Day2 b"],
    ["Day 1 a Day two", "day 1 day 2"],
  ),
  ("detectable_format:json_format", {}, ["```json\n{}\n```", "NaN", "[1]"], ["{'a': 1}", "Here: {}", "[" * 100_000]),
  ("detectable_format:title", {}, ["<<a>>", "<<<a>>"], ["<a>", "<< >>", "<<a\n>>"]),
  ("combination:two_responses", {}, ["a******b", "******a******b******"], ["a***b", "a ****** a", "a******b******c"]),
  ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi. "}, [" say HI. Hi!"], ["Say hi", "So: say hi."]),
  ("startend:end_checker", {"end_phrase": " The end."}, ['so: "the END." '], ["the end", "The end. So."]),
  ("startend:quotation", {}, [' "a" ', '""'], ['"', "'a'", "“a”"]),
  (
    "change_case:capital_word_frequency",
    {"capital_frequency": 2, "capital_relation": "less than"},
    ["WELL-KNOWN people"],
    ["A NASA man"],
  ),
  ("change_case:english_capital", {}, ["ALL OF THIS WAS WRITTEN BY THEM"], ["All of this", "DAS IST DER SCHÖNE TAG"]),
  ("change_case:english_lowercase", {}, ["all of this was written by them"], ["All of this", "das ist der schöne tag"]),
  ("punctuation:no_comma", {}, ["a; b，c"], ["a, b"]),
]


def judged(kind, kwargs, text):
  return verdicts.judge([kinds_lib.build(kind, kwargs)], text)


def test_every_kind_has_a_case():
  assert {case[0] for case in CASES} == set(kinds_lib.KINDS)
  assert set(ifeval_answers.KINDS) == set(kinds_lib.KINDS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_kind_tells_what_follows(case):
  kind, kwargs, follow, others = case
  assert [judged(kind, kwargs, text).strict for text in follow] == [(True,)] * len(follow)
  assert [judged(kind, kwargs, text).strict for text in others] == [(False,)] * len(others)
  assert judged(kind, kwargs, " \n\u00a0") == ((False,), (False,))


def test_answers_follow_and_changes_keep_loose_above_strict():
  rng = random.Random(0)
  seen = set()
  for kind in kinds_lib.KINDS:
    if kind.startswith(("language", "change_case")):
      continue  # slower: parity tests have them
    for _ in range(20):
      one = ifeval_answers.case(kind, rng)
      strict, loose = judged(kind, one.kwargs, ifeval_changes.changed(one.answer, rng))
      seen.add((strict, loose))
      assert loose >= strict
  assert seen == {((True,), (True,)), ((False,), (True,)), ((False,), (False,))}


def test_loose_variants():
  assert verdicts.variants("*a\nb \n c*") == ("*a\nb \n c*", "b \n c*", "*a\nb", "b", "a\nb \n c", "b \n c", "a\nb")
  assert verdicts.variants(" a ") == (" a ", "")
  both = [kinds_lib.build("punctuation:no_comma", {}), kinds_lib.build("startend:quotation", {})]
  assert verdicts.judge(both, 'Sure, here:\n"a*"\nBye') == ((False, False), (True, True))


@fuzz.given(st.text(alphabet="*- \n\ta\r\u2028", max_size=30), st.integers(1, 4))
def test_bullets_are_those_of_the_official_expressions(text, count):
  """The official ones take time that grows with the square of empty lines; their white space never crosses a line that
  matters."""
  found = re.findall(r"^\s*\*[^\*].*$", text, flags=re.MULTILINE) + re.findall(r"^\s*-.*$", text, flags=re.MULTILINE)
  followed = judged("detectable_format:number_bullet_lists", {"num_bullets": count}, text).strict[0]
  assert followed == (bool(text.strip()) and len(found) == count)


WRONG = {
  ("x:y", "{}"): "unknown instruction 'x:y'; they are keywords:existence",
  ("punctuation:no_commas", "{}"): "did you mean punctuation:no_comma?",
  ("punctuation:no_comma", "[]"): "punctuation:no_comma: its kwargs are a list; they must be an object",
  ("punctuation:no_comma", '{"num_words": 3}'): "punctuation:no_comma: unknown argument 'num_words'; it takes none",
  ("length_constraints:number_words", '{"relation": "at least"}'): "argument `num_words` is missing",
  ("length_constraints:number_words", '{"relation": "at least", "num_words": null}'): "argument `num_words` is missing",
  ("length_constraints:number_words", '{"relation": "at most", "num_words": 3}'): "it takes one of 'less than'",
  ("length_constraints:number_words", '{"relation": "at least", "num_words": "3"}'): "num_words = '3' (str)",
  ("length_constraints:number_words", '{"relation": "at least", "num_words": true}'): "num_words = True (bool)",
  ("length_constraints:number_words", '{"relation": "at least", "num_words": 3.5}'): "num_words = 3.5 (float)",
  (
    "length_constraints:number_words",
    '{"relation": "at least", "num_words": 0}',
  ): "num_words is 0; it must be 1 or more",
  ("length_constraints:number_words", '{"relation": "at least", "num_words": 3, "x": null}'): "unknown argument 'x'",
  ("length_constraints:nth_paragraph_first_word", '{"num_paragraphs": 1, "nth_paragraph": 2, "first_word": "a"}'): (
    "nth_paragraph is 2, and num_paragraphs 1"
  ),
  ("keywords:existence", '{"keywords": "sea"}'): "keywords = 'sea' (str)",
  ("keywords:existence", '{"keywords": []}'): "keywords is (); it must be a list of texts",
  ("keywords:existence", '{"keywords": ["sea", " "]}'): "none of them blank",
  ("keywords:existence", '{"keywords": ["sea", "("]}'): "keywords = '(' is no regular expression",
  ("keywords:frequency", '{"keyword": "+", "frequency": 1, "relation": "at least"}'): "is no regular expression",
  ("keywords:letter_frequency", '{"letter": "ab", "let_frequency": 1, "let_relation": "at least"}'): "one character",
  ("language:response_language", '{"language": "xx"}'): "language is 'xx', which langdetect does not know",
  ("startend:end_checker", '{"end_phrase": " "}'): "end_phrase is ' '; it must not be blank",
}


@pytest.mark.parametrize("given", WRONG)
def test_what_cannot_be_judged_is_refused(given):
  kind, kwargs = given
  with pytest.raises(errors.InputError, match=re.escape(WRONG[given])) as error:
    kinds_lib.build(kind, json.loads(kwargs))
  assert "\n" not in str(error.value)


def test_what_tables_write_is_read():
  nulls = dict.fromkeys(("keywords", "letter", "first_word", "prompt_to_repeat"))
  one = kinds_lib.build("length_constraints:number_words", {**nulls, "num_words": 300.0, "relation": "at least"})
  assert one == kinds_lib.build("length_constraints:number_words", {"num_words": 300, "relation": "at least"})


def test_the_parameters_of_sentences_are_those_of_nltk():
  """The wheel's are those of NLTK's data, to the last; NLTK's class gets them, and a text adds none."""
  found = texts._splitter("english", frozenset())._params
  texts.sentences("Flibbertigibbets. Xyzzys came to Dr. Plugh.")
  parts = [
    sorted(found.abbrev_types),
    sorted(map(list, found.collocations)),
    sorted(found.sent_starters),
    sorted(found.ortho_context.items()),
  ]
  assert hashlib.sha256(json.dumps(parts).encode()).hexdigest() == PUNKT_TAB


def test_the_language_is_the_same_in_any_thread():
  text = "Bon dia a todos, das ist ein test of many words e parole"
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert len(set(pool.map(texts.language, [text] * 40))) == 1
  assert texts.language("123 ...") is None
  folder = os.path.join(os.path.dirname(langdetect.__file__), "profiles")
  assert sorted(texts.LANGUAGES) == sorted(os.listdir(folder))
  assert langdetect.DetectorFactory.seed is None  # what others do with langdetect is left alone
