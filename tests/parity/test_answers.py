"""Short answers against lm-eval 0.4.13's own filters and metrics, built from its own task files, and rouge_score.

`python -m pytest -m parity -s tests/parity/test_answers.py` prints the numbers.
"""

import contextlib
import importlib.metadata
import io
import pathlib
import random
import re

import pytest

lm_eval = pytest.importorskip("lm_eval")
rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")

from lm_eval.api import metrics as their_metrics  # noqa: E402
from lm_eval.filters import build_filter_ensemble  # noqa: E402
from lm_eval.tasks import _yaml_loader  # noqa: E402

from itune_jax.grading import bbh  # noqa: E402
from itune_jax.grading import extract  # noqa: E402
from itune_jax.grading import letters  # noqa: E402
from itune_jax.grading import math_answers  # noqa: E402
from itune_jax.grading import math_equal  # noqa: E402
from itune_jax.grading import rouge  # noqa: E402
from tests.parity import answers  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
TASKS = pathlib.Path(lm_eval.__file__).parent / "tasks"
STRINGS = 3000
TAKE_FIRST = [{"name": "none", "filter": [{"function": "take_first"}]}]


class Instance:
  """As much of lm-eval's instance as its filters read."""

  def __init__(self, text, doc):
    self.resps, self.doc, self.filtered_resps = [text], doc, {}


def config(path):
  """A task of lm-eval as its own loader reads it."""
  return _yaml_loader.load_yaml(TASKS / path, resolve_func=True)


def filtered(task, name, texts, docs):
  """What lm-eval's filter of a task makes of responses; None for one where it raises, and so ends an evaluation."""
  made = next(one for one in task.get("filter_list", TAKE_FIRST) if one["name"] == name)
  steps = [(step["function"], {k: v for k, v in step.items() if k != "function"} or None) for step in made["filter"]]
  ensemble, instances = (
    build_filter_ensemble(name, steps),
    [Instance(*given) for given in zip(texts, docs, strict=True)],
  )
  try:
    ensemble.apply(instances)
  except (ValueError, IndexError):
    if len(texts) == 1:
      return [None]
    return [filtered(task, name, [text], [doc])[0] for text, doc in zip(texts, docs, strict=True)]
  return [instance.filtered_resps[name] for instance in instances]


def matches(task, prediction, gold):
  """lm-eval's exact match with the settings of a task."""
  flags = {k: v for k, v in task["metric_list"][0].items() if k not in ("metric", "aggregation", "higher_is_better")}
  return bool(their_metrics.exact_match_fn(references=[gold], predictions=[prediction], **flags)["exact_match"])


GSM8K = {
  "gsm8k.yaml": (extract.gsm8k_strict, extract.gsm8k_flexible),
  "gsm8k-cot.yaml": (lambda text: extract.gsm8k_strict(text, sentence=True), extract.gsm8k_flexible),
  "gsm8k-cot-zeroshot.yaml": (lambda text: extract.gsm8k_strict(text, sentence=True), extract.gsm8k_flexible),
}


@pytest.mark.parametrize("path", GSM8K)
def test_gsm8k(path):
  rng, task, differ, right = random.Random(path), config(f"gsm8k/{path}"), 0, 0
  texts, golds = [], []
  for _ in range(STRINGS):
    gold = answers.number(rng)
    texts.append(answers.around(gold if rng.random() < 0.6 else answers.number(rng), rng))
    golds.append(f"So it is {gold}.\n#### {gold}" if path == "gsm8k.yaml" or rng.random() < 0.5 else gold)
  for name, ours in zip(("strict-match", "flexible-extract"), GSM8K[path], strict=True):
    for text, gold, theirs in zip(texts, golds, filtered(task, name, texts, [{}] * STRINGS), strict=True):
      verdict = extract.gsm8k_match(ours(text), gold)
      differ += ours(text) != theirs or verdict != matches(task, theirs, gold)
      right += verdict
  print(f"\n{path}: {differ} differences to lm-eval on {STRINGS} strings, strict and flexible ({right} right)")
  assert not differ and right


def test_gsm8k_official():
  """The authors' own few lines, as they stand in grade_school_math/dataset.py."""
  rng, differ, right = random.Random(5), 0, 0
  pattern = re.compile(r"#### (\-?[0-9\.\,]+)")
  for _ in range(STRINGS):
    gold = f"#### {rng.randrange(-9999, 99999):,}"
    said = answers.around(gold.removeprefix("#### ") if rng.random() < 0.7 else answers.number(rng), rng)
    found = [pattern.search(one) for one in (said, gold)]
    theirs = bool(found[0]) and len({one.group(1).strip().replace(",", "") for one in found}) == 1
    differ += extract.gsm8k_official_match(said, gold) != theirs
    right += theirs
  print(f"\nGSM8K, the authors' rule: {differ} differences on {STRINGS} strings, {right} right")
  assert not differ and right


CHOICES = (
  ("Paris", "Paris, Texas", "LONDON", "It's none."),
  ("3", "-3", "3.0", "1/3"),
  ("yes", "no", "yes and no", "No!"),
  ("x", "", "(B)", "é"),
)
MMLU = {
  ("generative", "_default_template_yaml", "get_response"): letters.first_line,
  ("flan_n_shot/generative", "_mmlu_flan_generative_template_yaml", "strict-match"): lambda text: text,
  ("flan_n_shot/generative", "_mmlu_flan_generative_template_yaml", "flexible-extract"): 0,
  ("flan_cot_zeroshot", "_mmlu_flan_cot_zeroshot_template_yaml", "strict-match"): letters.sentence,
  ("flan_cot_zeroshot", "_mmlu_flan_cot_zeroshot_template_yaml", "flexible-extract"): -1,
  ("flan_cot_fewshot", "_mmlu_flan_cot_fewshot_template_yaml", "get-answer"): lambda t: letters.sentence(
    t, few_shot=True
  ),
}


@pytest.mark.parametrize(("folder", "path", "name"), MMLU, ids=str)
def test_mmlu(folder, path, name):
  task, ours, rng, differ = config(f"mmlu/{folder}/{path}"), MMLU[folder, path, name], random.Random(folder + name), 0
  docs = [{"choices": list(rng.choice(CHOICES))} for _ in range(STRINGS)]
  texts = [answers.around(answers.one_of(doc["choices"], rng), rng) for doc in docs]
  for text, doc, theirs in zip(texts, docs, filtered(task, name, texts, docs), strict=True):
    said = letters.named(text, doc["choices"], ours) if isinstance(ours, int) else ours(text)
    gold = rng.choice("ABCD") if folder == "generative" else f"({rng.choice('ABCD')})"
    same = letters.same_letter(said, gold) if "ignore_case" in task["metric_list"][0] else said == gold
    differ += said != theirs or same != matches(task, theirs, gold)
  print(f"\nmmlu/{folder} {name}: {differ} differences to lm-eval on {STRINGS} strings, filter and verdict")
  assert not differ


QUESTIONS = {
  "word_sorting": (
    "Sort the following words alphabetically: List: pear apple fig it&t o'clock",
    "apple fig it&t o'clock pear",
  ),
  "dyck_languages": ("Complete the rest of the sequence. Input: [ { (", ") } ]"),
  "options": ("Which?\nOptions:\n(A) red\n(B) dark red\n(C) Blue, or so\n(D) two (2)", "(B)"),
}
SAID = {
  "word_sorting": ("apple fig it&t o'clock pear", "fig, apple, pear", "pear apple fig apple", "apples fig", ""),
  "dyck_languages": (") } ]", ")}]", "] } )", " ) } ] .", "none", "> ) ]"),
  "options": ("(B)", "B", "dark red", "Dark Red", "red", "blue or so", "two", ": C", "(b)", "none"),
  "words": ("True", "False", "Yes", "no", "valid", "invalid", "not plausible", "plausible", "tells the truth", "No",
            "does not tell the truth", "is telling the truth", "truth", "yes and no", "-12", "12", "- 3", "--", "seven",
            "twenty one", "two million five thousand", "thousand thousand", "eight", "eighteen", "a hundred",
            "trillion"),
}  # fmt: skip


@pytest.mark.parametrize("variant", ("cot_fewshot", "fewshot", "cot_zeroshot", "zeroshot"))
def test_bbh(variant):
  """Every task, in each of lm-eval's four variants."""
  differ = raised = strings = 0
  for name in bbh.TASKS:
    task, rng = config(f"bbh/{variant}/{name}.yaml"), random.Random(name)
    kind = name if name in QUESTIONS else "options"
    question, target = QUESTIONS[kind]
    letter = lambda: answers.one_of(bbh.options(QUESTIONS["options"][0]), rng)
    said = [rng.choice((*SAID[kind], *SAID["words"], letter())) for _ in range(STRINGS // 25)]
    texts = [answers.around(one, rng) for one in said]
    for filter_name, ours in ours_of(variant, name, question).items():
      made = filtered(task, filter_name, texts, [{"input": question}] * len(texts))
      for text, one, theirs in zip(texts, said, made, strict=True):
        if theirs is None:
          raised += 1
          continue
        strings, gold = strings + 1, rng.choice((target, one, "no", "Yes", "7"))
        same = bbh.loosely(ours(text), gold) if "zero" in variant else extract.exact_match(ours(text), gold)
        differ += ours(text) != theirs or same != matches(task, theirs, gold)
  print(f"\nbbh {variant}: {differ} differences to lm-eval on {strings} strings of 27 tasks, filter and verdict "
        f"({raised} more on which lm-eval itself raises)")  # fmt: skip
  assert not differ and strings >= 1000


def ours_of(variant, task, question):
  """What reads the answers of a variant here, by the names of lm-eval's filters."""
  same = lambda text: text
  flexible = lambda which: lambda text: bbh.flexible(task, text, question, which)
  return {
    "cot_fewshot": {"get-answer": bbh.behind_words},
    "fewshot": {"none": same},
    "cot_zeroshot": {"strict-match": bbh.in_sentence, "flexible-extract": flexible(-1)},
    "zeroshot": {"strict-match": same, "flexible-extract": flexible(0)},
  }[variant]


def test_exact_match():
  """Every setting of the metric, on texts that numpy and Unicode treat in their own ways."""
  rng, differ = random.Random(3), 0
  parts = ("a", "A", "İ", "ß", "ǅ", "\0", " ", ".", ",", "$", "1", "\n", "#### ", "é", "!", "\\")
  for _ in range(STRINGS):
    left, right = ("".join(rng.choice(parts) for _ in range(rng.randrange(5))) for _ in range(2))
    right = rng.choice((right, left, left.upper(), left.lower(), left + "."))
    flags = {"ignore_case": rng.random() < 0.5, "ignore_punctuation": rng.random() < 0.5}
    ignored = rng.sample((",", r"\$", "(?s).*#### ", r"\.$", " "), rng.randrange(4))
    theirs = their_metrics.exact_match_fn(
      predictions=[left], references=[right], regexes_to_ignore=ignored or None, **flags
    )["exact_match"]
    differ += extract.exact_match(left, right, ignored=ignored, **flags) != bool(theirs)
  print(f"\nexact_match: {differ} differences to lm-eval on {STRINGS} pairs")
  assert not differ


@pytest.fixture(scope="module")
def their_math():
  """lm-eval's two modules. It pins an ANTLR that math-verify's LaTeX reader does not go with; forms need neither."""
  patch, real = pytest.MonkeyPatch(), importlib.metadata.version
  patch.setattr(importlib.metadata, "version", lambda name: "4.11" if name.startswith("antlr4") else real(name))
  minerva = importlib.import_module("lm_eval.tasks.minerva_math.utils")
  patch.undo()
  return minerva, importlib.import_module("lm_eval.tasks.hendrycks_math.utils")


LATEX = (
  *(
    "\\frac",
    "\\dfrac",
    "tfrac",
    "{1}",
    "{2}",
    "12",
    "1",
    "3",
    "\\sqrt",
    "[3]",
    "8",
    "{x}",
    "\\left",
    "\\right",
    "(",
    ")",
  ),
  *(",", " ", "$", "\\$", "\\text{ cm}", "\\text{ m}", "\\text{and}", "\\textbf{a}", "\\boxed{", "}", "{", "\\boxed "),
  *(" cm", " ft", "ft", "degrees", "^\\circ", "^{\\circ}", "=", "x", "x =", "0.5", ".5", "/", "a/b", "1/2", "\\%", "%"),
  *("1,234", "0,1", "-", "\\!", "\\;", "\\pi", "km", "square", "units", "mbox", "\\overline{z}", "\n", ".", "dollars"),
  *("an ", "a ", "Final Answer: The final answer is ", ". I hope it is correct.", "\\mathrm{th}", "{,}", '"', "\\dots"),
  *("\\\\", "\\fbox{", "\\ldots", "\u2212"),
)


def form(make, text):
  """A normal form, or that there is none."""
  try:
    return make(text)
  except (ValueError, AssertionError, IndexError):
    return "none"


def test_math_forms(their_math):
  minerva, hendrycks = their_math
  rng, differ, strings = random.Random(1), 0, 10 * STRINGS
  for _ in range(strings):
    text = "".join(rng.choice(LATEX) for _ in range(rng.randrange(9)))
    other = rng.choice((text, text.replace(rng.choice(LATEX), rng.choice(LATEX)), rng.choice(LATEX)))
    boxed = hendrycks.last_boxed_only_string(text)
    with contextlib.redirect_stdout(io.StringIO()):
      same = hendrycks.is_equiv(text, other)
    differ += minerva.normalize_final_answer(text) != math_answers.minerva_form(text)
    differ += minerva.get_unnormalized_answer(text) != math_answers.minerva_said(text)
    differ += form(hendrycks.strip_string, text) != form(math_answers.hendrycks_form, text)
    differ += same != math_answers.hendrycks_same(text, other)
    if (theirs := "" if boxed is None else form(hendrycks.remove_boxed, boxed)) != "none":  # there, \fbox raises
      differ += theirs != (math_answers.boxed(text) or "")
  print(f"\nMATH forms of Minerva and Hendrycks: {differ} differences to lm-eval on {strings} strings, five functions")
  assert not differ


def test_math_verify():
  """The worker's verdicts are those of math-verify called directly, as lm-eval's minerva_math calls it."""
  import math_verify

  golds = (
    "$\\boxed{\\frac{1}{2}}$",
    "$\\boxed{[2,5)}$",
    "The answer is $\\boxed{16}$.",
    "$\\boxed{x^2-1}$",
    "\\boxed{\\{1,2\\}}",
  )
  said = (
    "$0.5$",
    "\\boxed{1/2}",
    "$[2, 5)$",
    "16",
    "It is $\\boxed{16.0}$",
    "$(x-1)(x+1)$",
    "$\\{2,1\\}$",
    "",
    "17",
    "$\\frac{",
  )
  pairs = [(gold, one) for gold in golds for one in said]
  ours = [verdict.same for verdict in math_equal.verdicts(pairs)]
  theirs = [math_verify.verify(math_verify.parse(gold), math_verify.parse(one)) for gold, one in pairs]
  print(f"\nmath-verify: {sum(map(bool.__ne__, ours, theirs))} differences on {len(pairs)} pairs, {sum(theirs)} equal")
  assert ours == theirs and sum(theirs) >= len(golds)


WORDS = (
  *(
    "The",
    "the",
    "quick",
    "brown",
    "foxes",
    "foxes'",
    "running",
    "runs,",
    "jumped",
    "ÜBER",
    "über",
    "naïve",
    "東京",
    "b",
  ),
  *("c", "c", "c", "3", "3.5", "_", "-", "\u2212", "İstanbul", "ßtraße", "generalization", "generalizations", "it's"),
  *("relational", "1,234", "ﬁ", "x_y", "²", "١٢", "\u00a0", "\x1c", "sky", "skies", "dying", "lying"),
)


def sentence(rng):
  """Words with repetition, of many scripts."""
  return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(14)))


def test_rouge():
  rng, worst, pairs = random.Random(0), 0.0, 5000
  scorer = rouge_scorer.RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
  for _ in range(pairs):
    said, wanted = sentence(rng), [sentence(rng) for _ in range(rng.randrange(1, 4))]
    theirs, ours = [scorer.score(target=one, prediction=said) for one in wanted], rouge.scores(said, wanted)
    worst = max(worst, abs(ours.rouge1 - max(one["rouge1"].fmeasure for one in theirs)))
    worst = max(worst, abs(ours.rouge_l - max(one["rougeL"].fmeasure for one in theirs)))
  print(f"\nROUGE-1 and ROUGE-L: largest difference to rouge_score on {pairs} pairs {worst:.1e}")
  assert worst <= 1e-12


def test_rouge_across_languages():
  """Pieces of a tokenizer in place of words, the marks of spaces taken off, as the official script has it."""
  rng, worst = random.Random(2), 0.0
  tokenize = lambda text: ["\u0120" * bool(i) + part for i, part in enumerate(re.findall(r"\w{1,3}|\S", text))]
  official = type("Official", (), {"tokenize": lambda self, text: [t.lstrip("\u0120") for t in tokenize(text)]})()
  scorer = rouge_scorer.RougeScorer(["rouge1", "rougeL"], tokenizer=official)
  for _ in range(2000):
    said, wanted = sentence(rng), sentence(rng)
    theirs, ours = scorer.score(target=wanted, prediction=said), rouge.scores(said, [wanted], rouge.pieces(tokenize))
    worst = max(worst, abs(ours.rouge1 - theirs["rouge1"].fmeasure), abs(ours.rouge_l - theirs["rougeL"].fmeasure))
  print(f"\nROUGE across languages: largest difference to rouge_score on 2000 pairs {worst:.1e}")
  assert worst <= 1e-12
