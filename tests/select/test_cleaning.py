"""Each step of cleaning: what it mends or drops, and what looks like that and stays."""

import ast
import pathlib
import random
import re
import time

import hypothesis
from hypothesis import strategies as st
import pytest

from itune_jax.core import errors
from itune_jax.select import row_texts
from itune_jax.select.cleaning import unseen
from itune_jax.select.cleaning import gopher
from itune_jax.select.cleaning import html_residue
from itune_jax.select.cleaning import boilerplate
from itune_jax.select.cleaning import unfinished
from itune_jax.select.cleaning import unicode_repair
from itune_jax.select.cleaning import toxic_words

SENTENCE = (
  "The river rose in the night and the people of the town went up to the hills with all that they could carry. "
)


def changed(step, text):
  """What a step makes of a text, as an answer."""
  row = {"instruction": "Say.", "output": text, "id": text}
  outcome = step.row(row)
  assert outcome.row["id"] == text and row["output"] == text and bool(outcome.marks) == (outcome.row != row)
  return outcome.row["output"]


def test_texts_are_found_in_every_format():
  rows = [
    {"instruction": "a", "input": "b", "output": "c"},
    {"messages": [{"role": "user", "content": "a\n\nb"}, {"role": "assistant", "content": "c"}]},
    {"conversations": [{"from": "human", "value": "a\n\nb"}, {"from": "gpt", "value": "c"}], "id": "x"},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "c"}]},
  ]
  for row in rows:
    assert row_texts.get(row, "@answer") == "c" and row_texts.get(row, "@prompt").startswith("a")
    upper = row_texts.mapped(row, str.upper)
    assert row_texts.get(upper, "@answer") == "C" and upper.get("id") == row.get("id")
    assert list(upper) == list(row) and "user" not in "".join(row_texts.each(row))
  assert row_texts.mapped(rows[0], str.upper, ("input",)) == {**rows[0], "input": "B"}


def test_unicode_is_repaired_and_styles_stay():
  step = unicode_repair.UnicodeRepair()
  assert changed(step, "Itâ€™s cafÃ©") == "It’s café"
  assert changed(step, "e\u0301") == "é"
  for fine in ("“Quotes” – ﬁne", "日本語 ｆｕｌｌ", "naïve", "plain"):
    assert changed(step, fine) == fine


def test_unseen_characters_go_and_joiners_stay_where_they_are_needed():
  step = unseen.Controls()
  assert changed(step, "a\u200bb\ufeff\x00c\r\nd\u202ee") == "abc\nde"
  assert changed(step, "hid\U000e0041\U000e0042den") == "hidden"
  assert changed(step, "to\u200dgether") == "together"
  for fine in ("\U0001f469\u200d\U0001f4bb", "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "a\tb\nc"):
    assert changed(step, fine) == fine


def test_html_goes_outside_of_code_and_of_rows_about_it():
  step = html_residue.HtmlResidue()
  assert changed(step, "<p>One &amp; two<br/>three</p><!-- x --> <b>four</b>") == "\nOne & two\nthree\n four"
  code = "See:\n```\n<div>&amp;</div>\n```\nand `<b>`"
  assert changed(step, code) == code
  assert changed(step, "if a < b and c > d: x &y") == "if a < b and c > d: x &y"
  row = {"instruction": "Write an HTML list.", "output": "<ul><li>x</li></ul>"}
  assert step.row(row).row is row and step.row(row).marks == ("about html: left as it is",)


@pytest.mark.parametrize(
  "text",
  [
    "u <b, c> v", "<a, b> inner product", "vector<i> and map<p>", "if (x <i && y> z)", "a<b> c", "<p> = 3 of it",
    "Use `<b>x</b>` or\n```\n<i>y</i>\n```", "List<List<a>> b", "x <a b> c", "T<s> t", "<center>", "<bold>no</bold>",
  ],
)  # fmt: skip
def test_what_only_looks_like_a_tag_stays(text):
  assert changed(html_residue.HtmlResidue(), text) == text


@pytest.mark.parametrize(
  ("text", "wanted"),
  [
    ("H<sub>2</sub>O", "H2O"), ("<p>Use `<b>` now</p>", "\nUse `<b>` now\n"), ("<a href='x.y'>see", "see"),
    ("<ul><li>One<li>Two</ul>", "\n\nOne\nTwo\n"), ("One</div>", "One\n"), ("<B>x</b>", "x"),
    ("a<br>b<hr />c", "a\nb\nc"), ("<td nowrap>1</td>", "1"), ("vector<i> is <i>so</i>", "vector<i> is so"),
    ("<script>x < 1</script>y", "y"), ('<span style="color: red">x</span>', "x"),
  ],
)  # fmt: skip
def test_tags_go_by_their_elements(text, wanted):
  assert changed(html_residue.HtmlResidue(), text) == wanted


names = st.text("abipsu", min_size=1, max_size=2)


@hypothesis.given(
  pieces=st.lists(st.one_of(names, st.sampled_from(("<", ">", " ", ", ", " && ", " < ", "(", ")"))), max_size=16)
)
def test_inequalities_and_types_stay(pieces):
  """Without an end of an element, an attribute or an element that has none, no text holds tags."""
  text = "".join(pieces)
  assert changed(html_residue.HtmlResidue(), text) == text


@pytest.mark.parametrize(
  ("answer", "reason"),
  [
    ("As an AI language model, I cannot feel.", "boilerplate refusal"),
    ("I’m sorry, but I can't help with that.", "boilerplate refusal"),
    ("I'm sorry to hear that you are ill.", ""),
    ("Models such as an artificial lake are built.", ""),
    ("I am an AI researcher.", ""),
    ("Google's policies say that ads are reviewed.", ""),
    ("I'm sorry, but I can't make it tonight, said Bob.", ""),
    ("She said: “I'm sorry, but I can't help with that.” He left.", ""),
    ('"As an AI language model, I cannot feel," it wrote.', ""),
    ("I cannot wait. As an AI engineer, I build things.", ""),
    ("I am an AI.", "boilerplate refusal"),
    ("Hello! I'm sorry, but I'm unable to assist with this.", "boilerplate refusal"),
    ("I have to stop, since your request goes against OpenAI's content policy.", "boilerplate refusal"),
    ("My knowledge cutoff is in 2021.", "boilerplate refusal"),
    (SENTENCE * 4 + "As an AI language model, I end.", ""),
  ],
)
def test_boilerplate_refusals(answer, reason):
  assert boilerplate.Refusals().row({"instruction": "Do it.", "output": answer}).reason == reason
  asked = boilerplate.Refusals().row({"instruction": "Are you an AI?", "output": answer})
  assert asked.row is not None and bool(asked.marks) == bool(reason)


@pytest.mark.parametrize(
  ("answer", "reason"),
  [
    (" \n", "empty answer"),
    ("List three colours of the rainbow, please", "answer copies the prompt"),
    ("Red", ""),
    (SENTENCE * 2 + "Then they came back and", "cut off: middle of a sentence"),
    (SENTENCE * 2 + "Then they came slowly back home", "cut off: no end of the sentence"),
    ("Here:\n```python\nprint(1)", "cut off: open code fence"),
    (SENTENCE * 2 + "\n- first thing\n- second thing of all", ""),
    (SENTENCE * 2 + "\n```python\nprint(1)\n```", ""),
    (SENTENCE * 2 + "They said: “we are back.”", ""),
    (SENTENCE * 2 + "The answer is $x = 4$", ""),
    ("彼は昨日学校に行きました。" * 4, ""),
    (SENTENCE * 2 + "Then they came back to (", "cut off: middle of a sentence"),
  ],
)
def test_answers_that_are_none_or_cut(answer, reason):
  row = {"instruction": "List three colours of the rainbow, please.", "output": answer}
  assert unfinished.Unfinished().row(row).reason == reason


@pytest.mark.parametrize("said", ["i'm sorry ", "as an ai ", "my i ", '"', "as ", "a"])
def test_patterns_take_no_longer_on_what_goes_on_without_end(said):
  row = {"instruction": "Say.", "output": said * 20_000}
  start = time.process_time()
  boilerplate.Refusals(within=0).row(row)
  assert time.process_time() - start < 10


ENDS = (
  *("#water #sustainability", "see https://example.org/a", "or example.org/a/b", "love to all 🎉", "x = a + b", "f(x)"),
  *("a \\frac{1}{2} b", "\n    return the head of it", "\nB. Recap of what was said", "\nStep 10. Take the oath of it"),
  *(
    "\n2. the second of all of them",
    "\n| a | b |",
    "“so it was”",
    "「はい」",
    "a trip to Vermont",
    "write me@b.org",
    "**so**",
  ),
)


@hypothesis.given(end=st.sampled_from(ENDS), times=st.integers(2, 4))
def test_an_end_without_a_full_stop_is_no_cut(end, times):
  """Tags, addresses, signs, formulas, code, elements of lists and what is in quotation marks."""
  row = {"instruction": "Say.", "output": f"{SENTENCE * times}They were there {end}".replace("there \n", "there.\n")}
  assert unfinished.Unfinished().row(row).reason == ""


def test_the_recipe_for_cleaning_keeps_answers_that_speak_of_one_thing():
  """Its limits, as the recipe has them: answers may list and repeat names, but not go on in a loop."""
  recipe = (pathlib.Path(__file__).parents[2] / "gin_configs/data/select/clean.gin").read_text()
  values = re.findall(r"^gopher\.GopherRepetition\.(\w+) = ([\d.]+)$", recipe, re.MULTILINE)
  step = gopher.GopherRepetition(**{name: ast.literal_eval(value) for name, value in values})
  bands = ("Led Zeppelin", "Jimi Hendrix", "Journey", "Rolling Stones", "Miley Cyrus", "Taylor Swift", "Aerosmith")
  listed = "\n".join(f"{band} - Classic Rock" for band in bands)
  named = (
    'The phrase "life is like a box of chocolates" implies that life is unpredictable and that one never knows what '
  )
  named += "is next: with a box of chocolates one never knows what one will get."
  for fine in (listed, named):
    assert gopher.GopherRepetition().broken(fine) and not step.broken(fine)
  words = SENTENCE.split()
  for k in range(1, len(words)):
    assert step.broken(" ".join([*words, *(words[-k:] * len(words))])), k


def test_gopher_rules_each():
  quality, fine = gopher.GopherQuality(), SENTENCE * 3
  assert quality.broken(fine) == ""
  broken = {
    "number of words": SENTENCE,
    "mean length of words": "a b c d e " * 20 + "the of",
    "symbols": fine + "# " * 20,
    "bullets": "\n".join(f"- {SENTENCE}" for _ in range(3)),
    "ellipses": "\n".join(SENTENCE.strip() + "…" for _ in range(3)),
    "words without letters": fine + "12345 " * 40,
    "stop words": "wort " * 60,
  }
  assert {why: quality.broken(text) for why, text in broken.items()} == {why: why for why in broken}
  rng, repetition = random.Random(0), gopher.GopherRepetition()
  words = lambda n: [f"{rng.randrange(10**6):06}" for _ in range(n)]
  assert repetition.broken(" ".join(words(200))) == "" == repetition.broken("yes")
  assert repetition.broken("one line\n" * 9) == "lines"
  assert repetition.broken(" ".join([*words(60), *["ab", "cd"] * 60])) == "commonest 2-gram"
  again = words(10)
  assert repetition.broken(" ".join([*words(50), *again, *words(50), *again])) == "repeated 5-grams"


def test_words_of_a_list_by_tier(tmp_path):
  path = tmp_path / "bad.txt"
  path.write_text("# remarks\nfoo bar\t2\nbaz\n")
  drop = lambda text, **how: toxic_words.WordList(path=str(path), **how).row({"text": text}).reason
  assert drop("a Foo Bar here") == drop("baz!") == "words of bad.txt"
  assert not drop("bazaar foo") and not drop("baz", tier=2) and not drop("baz", least=2)
  path.write_text("foo\tmuch\n")
  with pytest.raises(errors.InputError, match=r"bad2?\.txt:1: the tier"):
    other = tmp_path / "bad2.txt"
    other.write_text("foo\tmuch\n")
    toxic_words.WordList(path=str(other)).row({"text": "x"})
