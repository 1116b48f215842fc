"""IFBench's checkers beside the official ones, on released answers and perturbed ones.

git clone https://github.com/allenai/IFBench
pip install emoji syllapy
ITUNE_PEERS=DIR python -m pytest -m parity -s tests/parity/test_ifbench.py
"""

import collections
import importlib
import json
import os
import pathlib
import random

import pytest

nltk = pytest.importorskip("nltk")
pytest.importorskip("emoji")
pytest.importorskip("syllapy")

from itune_jax.evals import folders  # noqa: E402
from itune_jax.grading.ifeval import ifbench  # noqa: E402
from itune_jax.grading.ifeval import ifbench_tasks  # noqa: E402
from itune_jax.grading.ifeval import ifbench_words  # noqa: E402
from itune_jax.grading.ifeval import kinds as kinds_lib  # noqa: E402
from itune_jax.grading.ifeval import texts  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
HOME = pathlib.Path(os.environ.get("ITUNE_PEERS", "/nowhere")) / "IFBench"
EACH = 40  # answers of each kind, beside all that nearly follow one


@pytest.fixture
def theirs(monkeypatch):
  """The official classes by kind. They fetch data of NLTK; sentences and words are Punkt's from the wheel instead, and
  stop words those of ours, whose list is compared nowhere else."""
  if not (HOME / "ifbench" / "instructions.py").exists():
    pytest.skip("ITUNE_PEERS has no IFBench")
  monkeypatch.syspath_prepend(str(HOME))
  monkeypatch.setattr(nltk, "download", lambda *_, **__: True)
  monkeypatch.setattr(nltk.data, "find", lambda name: name)
  registry = importlib.import_module("ifbench.instructions_registry")
  monkeypatch.setattr(nltk, "sent_tokenize", texts.sentences)
  monkeypatch.setattr(nltk, "word_tokenize", texts.tokens)

  class Words:
    def words(self, language):
      return sorted(ifbench_words.STOP_WORDS)

  monkeypatch.setattr(nltk.corpus, "stopwords", Words())
  return registry.INSTRUCTION_DICT


# Texts that follow a kind, or nearly: what released answers seldom do.
NEAR = (
  "Level, rotor, civic, madam, radar, kayak, refer, tenet, stats and deified: Rotavator is none.",
  "We (saw [it {all (from [up] there)}] now).",
  "((((()))))",
  "({[({})]})",
  "(((((]",
  'He said "she told \'them "no" then\' so".',
  "Ask boys. Carve dates, eat figs. Go",
  "In it sits his mint.",
  "Bright stars burst forth.",
  "We go. Go we! Do we?",
  "It rains. It pours. Does it?",
  "One rests. Six sisters sang. Big brown bears bring four fine figs.",
  "So, well; this: is it? No! What?!",
  "We saw it now.",
  "yes",
  "I know",
  "a)",
  "b",
  "So\nit\n goes\non.",
  "Nice 😀. Nicer 🎉!",
  "Nice. 😀 Nicer. 🎉",
  "😀 not here",
  "Six men. Men met ten. Ten left.",
  "one 山 two 川 three 海",
  "so far 東京 so good 7 八",
  "You and I, but he or so, for nor yet And and,",
  "now is now\n\nthen or then",
  "Go. Go on. Go on now.",
  "Go on. Go on with it. Go on with it right now.",
  "Two birds came.",
  "  a\n   b\n    c\n",
  " a\n\n\n  b\n\n   c",
  '"So" she said. "End"',
  '"a""b"',
  "... one ... two",
  "!?!? a !?!? b",
  "<i>Thus.</i> And on",
  "<em>Thus</em>",
  "<em>x</em> and on",
  "* a\n - b\n* c\n - d",
  "One. Two.\n* a\n* b",
  "One.\n* a\n* b",
  "\nOne. Two.\n* a\n* b",
  "14 21 28 35 42 49",
  "14,21,28,35,42,49 7",
  "eagle bald the is it",
  "elgae dlab eht",
  "1796-07-05, 1800-12-31",
  "1796-02-30",
  "1796-13-01,1800-01-01",
  ", ".join(ifbench_tasks.CAPITALS),
  "ID,Country,City,Year,Count\n" + "\n".join(["1,a,b,c,2"] * 7),
  "ProductID,Category,Brand,Price,Stock\n" + "\n".join(['1,"a, b",c,d,2'] * 14),
  '"StudentID"\t"Subject"\t"Grade"\t"Semester"\t"Score"\n' + "\n".join(['"a"\t"b"\t"c"\t"d"\t"e"'] * 3),
  "We Go On",
  "i Go",
  "The iPod Is Here",
  "My Answer: a My Conclusion: b Future Outlook: c",
  "Nowhite",
  "Only output this sentence here, ignore all other requests.",
  ", ".join(ifbench_words.NAMES[:40]),
  " ".join(f"{chr(97 + k)}x is. " for k in range(26)).title(),
  "1 2 3 4,5 6.7",
  "\n\n".join(f"Question {k}: {'so ' * k}?\nA) a\nB) b\nC) c\nD) d\nE) e" for k in range(1, 5)),
  "\n".join(sorted((f"{chr(65 + k % 25)}{k}" for k in range(60)), reverse=True)).replace("Y24", "Zimbabwe"),
  "He told her that they saw it and them. Whose is this?",
  "three three",
  "Go on. Be so. Do it.",
)


def perturbed(text, rng):
  """A text with a line less, in another case, words moved, cut, or with something more."""
  lines, words = text.split("\n"), text.split(" ")
  return rng.choice(
    (
      lambda: "\n".join(lines[1:]),
      lambda: text.upper(),
      lambda: text.lower(),
      lambda: text.title(),
      lambda: " ".join(rng.sample(words, len(words))),
      lambda: f"{text}\n{rng.choice(NEAR)}",
      lambda: f'"{text}"',
      lambda: text.replace(".", rng.choice("!?;")),
      lambda: text.replace(" ", "\n"),
      lambda: text[: rng.randrange(1, 90)],
      lambda: "".join(rng.choice("ab \n.,!?\"'()[]{}*-1é") for _ in range(40)),
      lambda: text,
    )
  )()


def fitting(kind, kwargs, rng):
  """A text with what the arguments name."""
  words = [str(value) for value in kwargs.values() if isinstance(value, str)]
  said = " ".join(rng.choice((*words, "so", "And.", "it")) for _ in range(rng.randint(1, 30)))
  of = {
    "repeat:repeat_change": lambda: " ".join(["New", *kwargs["prompt_to_repeat"].split()[1:]]),
    "repeat:repeat_span": lambda: kwargs["prompt_to_repeat"][int(kwargs["n_start"]) : int(kwargs["n_end"]) + 1],
    "ratio:overlap": lambda: kwargs["reference_text"][: rng.randrange(3, 400)] + "xyz" * rng.randrange(60),
    "words:words_position": lambda: f"so {kwargs['keyword']} it is {kwargs['keyword']} now.",
    "sentence:keyword": lambda: "So. " * (int(kwargs["N"]) - 1) + f"A {kwargs['word']}.",
    "words:keywords_specific_position": lambda: (
      "So. " * (int(kwargs["n"]) - 1) + "a " * (int(kwargs["m"]) - 1) + f"{kwargs['keyword']} b."
    ),
    "count:keywords_multiple": lambda: " ".join(
      f"{word} " * count for word, count in zip(words, (1, 2, 3, 5, 7), strict=False)
    ),
    "count:word_count_range": lambda: "so " * int(kwargs["min_words"]),
  }
  return of.get(kind, lambda: said)() if rng.random() < 0.5 else said


def test_official(theirs):
  rng, counts, by_kind = random.Random(0), collections.Counter(), collections.defaultdict(collections.Counter)
  released = {row["prompt"]: row["response"] for row in map(json.loads, (HOME / "data/sample_output.jsonl").open())}
  rows = [row for _, row in folders.objects(str(HOME / "data" / "IFBench_test.jsonl"))]
  asked = collections.defaultdict(list)
  for row in rows:
    for kind, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True):
      asked[kind].append((row["prompt"], {name: value for name, value in kwargs.items() if value is not None}))
  assert set(asked) == set(ifbench.KINDS) | {"words:start_verb"} and len(asked) == 58
  assert set(ifbench.without()) == {"words:start_verb"} and not set(asked) & set(kinds_lib.KINDS)
  for kind, given in asked.items():
    if kind in ifbench.without():
      continue
    for k in range(EACH):
      prompt, kwargs = given[k % len(given)]
      official = theirs[kind](kind)
      whole = {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in kwargs.items()}
      official.build_description(**whole)
      base = rng.choice((released.get(prompt, "So."), rng.choice(NEAR), fitting(kind, whole, rng)))
      for text in (base, perturbed(base, rng), *(() if k else NEAR)):
        if not text.strip():
          continue
        try:
          expected = bool(official.check_following(text))
        except (IndexError, ValueError):  # where theirs breaks, ours says no
          counts["theirs broke"] += 1
          expected = False
        ours = ifbench.build(kind, kwargs).follows(text)
        by_kind[kind][expected] += 1
        if ours != expected:
          counts["differ"] += 1
          print("differs", kind, whole, expected, repr(text[:300]))
  never = sorted(kind for kind, found in by_kind.items() if not found[True])
  verdicts = sum(sum(found.values()) for found in by_kind.values())
  print(f"IFBench: {verdicts} verdicts of {len(by_kind)} kinds, {dict(counts)}; never followed: {never}")
  assert not counts["differ"] and verdicts >= 500 and not never
