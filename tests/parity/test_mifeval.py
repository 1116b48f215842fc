"""M-IFEval's checkers beside the official ones, on released responses and perturbed ones.

git clone https://github.com/lightblue-tech/M-IFEval
pip install janome spacy ja-sentence-segmenter
ITUNE_PEERS=DIR python -m pytest -m parity -s tests/parity/test_mifeval.py
"""

import collections
import glob
import importlib
import importlib.util
import os
import pathlib
import random
import sys
import types

import pytest

langdetect = pytest.importorskip("langdetect")
pytest.importorskip("nltk")

from itune_jax.evals import folders  # noqa: E402
from itune_jax.evals import instructed  # noqa: E402
from itune_jax.grading.ifeval import mifeval  # noqa: E402
from itune_jax.grading.ifeval import texts  # noqa: E402
from itune_jax.grading.ifeval import tongues  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
HOME = pathlib.Path(os.environ.get("ITUNE_PEERS", "/nowhere")) / "M-IFEval"
BY_WORDS = ("spanish_words", "japanese_words")  # modules of the kinds that need packages
NAMES = {"es": "spanish", "fr": "french", "ja": "japanese"}


def has(package):
  return importlib.util.find_spec(package) is not None


@pytest.fixture
def theirs(monkeypatch):
  """The official classes by kind. Where a package is not installed, and for spaCy's trained models, its kinds are left
  out; languages are langdetect's from seed 0, and French sentences Punkt's with the official abbreviations. What the
  model es_core_news_sm does with words is its language's tokenizer, which is the one of `spacy.blank`."""
  if not (HOME / "instructions_registry.py").exists():
    pytest.skip("ITUNE_PEERS has no M-IFEval")
  monkeypatch.syspath_prepend(str(HOME))
  empty = lambda name, **own: types.SimpleNamespace(__name__=name, __spec__=None, **own)
  stand_ins = {"immutabledict": empty("immutabledict", immutabledict=dict)}
  if has("spacy"):
    spacy = importlib.import_module("spacy")
    monkeypatch.setattr(spacy, "load", lambda name: spacy.blank("es" if name.startswith("es_") else "xx"))
  else:
    stand_ins["spacy"] = empty("spacy", load=lambda name: None)
  if not has("janome"):
    stand_ins |= {"janome": empty("janome"), "janome.tokenizer": empty("janome.tokenizer", Tokenizer=None)}
  names = ("make_pipeline", "concatenate_matching", "normalize", "split_newline", "split_punctuation")
  for part in ("", ".common", ".common.pipeline", ".concatenate", ".concatenate.simple_concatenator", ".normalize",
               ".normalize.neologd_normalizer", ".split", ".split.simple_splitter"):  # fmt: skip
    if has("ja_sentence_segmenter"):
      break
    module = f"ja_sentence_segmenter{part}"
    stand_ins[module] = empty(module, **dict.fromkeys(names))
  for name, module in stand_ins.items():
    monkeypatch.setitem(sys.modules, name, module)
  found = importlib.import_module("instructions_registry")

  def detect(text):
    code = texts.language(text)
    if code is None:
      raise langdetect.LangDetectException(0, "nothing")
    return code

  monkeypatch.setattr(langdetect, "detect", detect)
  if has("janome"):  # the official code reads its dictionary anew for each response
    japanese = importlib.import_module("instruction_utils.ja_instructions_util")
    tokenizer = japanese.Tokenizer()
    monkeypatch.setattr(japanese, "Tokenizer", lambda: tokenizer)
  french = importlib.import_module("instruction_utils.fr_instructions_util")
  assert set(french._ABBREVIATIONS) == set(tongues.ABBREVIATIONS)
  monkeypatch.setattr(
    french, "split_into_sentences", lambda text: texts.sentences(text, "french", tongues.ABBREVIATIONS)
  )
  monkeypatch.setattr(french.nltk, "word_tokenize", texts.tokens)
  return found.INSTRUCTION_DICT


def perturbed(text, rng):
  """A response with a line less, in another case, words moved, marks put in, or more of what kinds look for."""
  lines, words = text.split("\n"), text.split(" ")
  marks = [
    *("***", "******", "《a》", "『題』", "##titre##", "<<t>>", "- a", "* b", "・c", "1. d", "Sección 1", "第1章"),
    *("SECTION 2", "P.S. x", "P.D.", "追伸", "[x]", "¿Qué?", "¡Ay!", "Oui.", "Sí.", "はい、そうです。", "tu"),
    *(
      "漢字（かんじ）",
      "です。",
      "42",
      "à",
      "AÑO Pingüino",
      "mañana, niño",
      "TÚ Él",
      "p.ej. EE.UU.",
      "(¡así!)",
      "この本の",
    ),
    *("美しい空。", "明日は雨？", "「はい。いいえ。」と", "(あ。い)", "テスト ・ A B"),
  ]
  return rng.choice(
    (
      lambda: "\n".join(lines[1:]),
      lambda: text.upper(),
      lambda: text.lower(),
      lambda: " ".join(rng.sample(words, len(words))),
      lambda: f"{text}\n{rng.choice(marks)}\n{rng.choice(marks)}",
      lambda: f'"{text}"',
      lambda: f"「{text}」",
      lambda: f"«{text}»",
      lambda: text.replace("。", "、"),
      lambda: text.replace("\n", "\n\n"),
      lambda: text[: rng.randrange(1, 80)],
      lambda: "".join(rng.choice("あいアイ漢ｱーん1 。「」") for _ in range(12)),
    )
  )()


def test_official(theirs):
  rng, counts, lacks = random.Random(0), collections.Counter(), mifeval.without()
  kinds_seen = collections.Counter()
  if not has("ja_sentence_segmenter"):  # ours needs no package, theirs does
    lacks["ja:length_constraints:number_sentences"] = "ja_sentence_segmenter"
  for code in NAMES:
    (path,) = glob.glob(str(HOME / "data" / f"{code}_input_data.jsonl"))
    rows = {row["prompt"]: row for _, row in folders.objects(path)}
    released = sorted(glob.glob(str(HOME / "data" / f"{code}_input_response_data_*.jsonl")))
    said = [(row["prompt"], row["response"]) for name in released for _, row in folders.objects(name)]
    for prompt, response in rng.sample(said, min(len(said), 260)):
      row = rows[prompt]
      if any(kind in lacks for kind in row["instruction_id_list"]):
        counts[f"{code} left out"] += 1
        continue
      one = instructed.item(row, "row", mifeval.build)
      new = [kind for kind in row["instruction_id_list"] if mifeval.KINDS[kind].__module__.endswith(BY_WORDS)]
      more = [perturbed(response, rng) for _ in range(3 if new else 0)]
      for text in (response, perturbed(response, rng), perturbed(perturbed(response, rng), rng), *more):
        for given in one.answer:
          official = theirs[given["kind"]](given["kind"])
          official.build_description(**given["kwargs"])
          expected = bool(text.strip()) and bool(official.check_following(text))
          ours = bool(text.strip()) and mifeval.build(**given).follows(text)
          counts[f"{code} verdicts"] += 1
          kinds_seen[given["kind"]] += 1
          counts[f"{code} followed"] += expected
          if ours != expected:
            counts["differ"] += 1
            print("differs", given, expected, repr(text[:200]))
  added = [kind for kind in kinds_seen if mifeval.KINDS[kind].__module__.endswith(BY_WORDS)]
  print(f"with words of spaCy and janome: { ({kind: kinds_seen[kind] for kind in added}) }")
  kinds = {kind for kind in theirs if kind[:3] in ("es:", "fr:", "ja:")}
  for _, row in (pair for code in NAMES for pair in folders.objects(str(HOME / "data" / f"{code}_input_data.jsonl"))):
    assert set(row["instruction_id_list"]) <= mifeval.KINDS.keys() | mifeval.without().keys()
  print(f"M-IFEval: {dict(counts)}; {len(mifeval.KINDS)} kinds of {len(kinds)} registered, {len(lacks)} left out")
  assert not counts["differ"] and all(counts[f"{code} verdicts"] >= 500 for code in NAMES)
