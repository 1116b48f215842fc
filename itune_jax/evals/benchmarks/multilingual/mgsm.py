"""MGSM: GSM8K's first 250 problems in other languages (Shi et al. 2022), asked and read as lm-eval's `mgsm_*`.

| variant | prompt ends with | read by |
|---|---|---|
| `native_cot` | "step by step", in the language | `strict_match`: the language's "The answer is …" |
| `en_cot` | "Step-by-Step Answer:" | `strict_match`: "The answer is …" |
| `direct` | "Answer:", in the language | `strict_match`: the whole answer |

`flexible_extract` takes the last number.

Without examples as lm-eval's default has none; up to eight of the official ones may stand in front (`shots`). lm-eval
cuts the first character off the Chinese ones; here they are whole. Figures are given by language, with the gap to
English on the same problems (`strict_match_gap`), and `wrong_language`: the share of the answers whose language can be
told that are in another one than they should be.
"""

from collections.abc import Iterator
import functools
import re
from typing import Any, NamedTuple

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading import extract
from itune_jax.grading import languages
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib


class Words(NamedTuple):
  """What lm-eval's prompts and patterns of a language are made of (lm_eval/tasks/mgsm/utils.py)."""

  question: str
  steps: str
  direct: str
  sentence: str


_NUMBER = r"(\-?[0-9\.\,]+)"
WORDS = {
  "bn": Words("প্রশ্ন:", "ধাপে ধাপে উত্তর:", "Answer:", f"The answer is {_NUMBER}"),
  "de": Words("Frage:", "Schritt-für-Schritt-Antwort:", "Antwort:", f"Die Antwort lautet {_NUMBER}"),
  "en": Words("Question:", "Step-by-Step Answer:", "Answer:", f"The answer is {_NUMBER}"),
  "es": Words("Pregunta:", "Respuesta paso a paso:", "Respuesta:", f"La respuesta es {_NUMBER}"),
  "fr": Words("Question :", "Réponse étape par étape :", "Réponse :", f"La réponse est {_NUMBER}"),
  "ja": Words("問題：", "ステップごとの答え:", "Answer:", f"答えは{_NUMBER}です。"),
  "ru": Words("Задача:", "Пошаговоерешение:", "Answer:", f"Ответ — {_NUMBER}"),
  "sw": Words("Swali:", "Jibu la Hatua kwa Hatua:", "Answer:", f"Jibu ni {_NUMBER}"),
  "te": Words("ప్రశ్న:", "దశలవారీగా సమాధానం:", "Answer:", f"సమాధానం {_NUMBER}"),
  "th": Words("โจทย์:", "คำตอบทีละขั้นตอน:", "Answer:", f"คำตอบคือ {_NUMBER}"),
  "zh": Words("问题：", "逐步解答:", "Answer:", f"答案是 {_NUMBER}。"),
}
FILES = "mgsm_*.tsv"
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_FILE = re.compile(r"mgsm_(\w+)\.tsv(?:\.gz)?$")
_ENDS = ("</s>", "<|im_end|>")


def items(folder: folders.Folder, variant: str, count: int) -> Iterator[protocol.Item]:
  """The problems of each language that has a file; the same problem is one cluster. Raises InputError for a row without
  a number, and for a language without known prompts."""
  exemplars = folder.value("exemplars.json")["MGSM_EXEMPLARS"] if count else {}
  for path in folder.files(FILES):
    found = _FILE.search(path)
    code = found[1] if found else ""
    check.require(code in WORDS, f"{path}: {code!r} is no language of MGSM; they are {', '.join(WORDS)}")
    shots = tuple(_shot(exemplars[code][str(k)], code, variant) for k in range(1, count + 1))
    for number, line in enumerate(folders.text_of(path).splitlines()):
      where, cells = f"{path}:{number + 1}", line.split("\t")
      is_pair = len(cells) == 2 and bool(cells[0].strip())
      check.require(is_pair, f"{where}: has {len(cells)} cells; a question and a number are expected")
      yield protocol.Item(
        id=f"{code}/{number}",
        question=f"{WORDS[code].question} {cells[0]}\n{ending(code, variant)}",
        shots=shots,
        answer=_whole(cells[1], where),
        cluster=str(number),
        tags={"language": code},
        shown={"language": code},
        where=where,
      )


def ending(code: str, variant: str) -> str:
  """The last line of a prompt."""
  return {"native_cot": WORDS[code].steps, "en_cot": WORDS["en"].steps, "direct": WORDS[code].direct}[variant]


def grade(item: protocol.Item, answer: requests_lib.Response, *, variant: str) -> protocol.Graded:
  """lm-eval's filters on the first sample, and whether it is in the language that it should be in."""
  code, text = item.shown["language"], answer.text
  pattern = WORDS[code if variant == "native_cot" else "en"].sentence
  strict = text.strip() if variant == "direct" else extract.matched(re.compile(pattern), text)
  flexible = extract.matched(_FLEXIBLE, text, -1)
  same = lambda one: extract.exact_match(one, item.answer, ignore_case=True, ignore_punctuation=True)
  values: dict[str, Any] = {"strict_match": same(strict), "flexible_extract": same(flexible)}
  if variant != "direct":  # answers of a number alone have no language
    known = languages.judged("mgsm", tuple(WORDS))
    values["wrong_language"] = languages.is_wrong(text, code if variant == "native_cot" else "en", known)
  return protocol.Graded(values, {"extracted": strict})


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with mgsm_*.tsv, and exemplars.json where examples are asked for."""
  variant = settings.variant
  stops = tuple(dict.fromkeys(words.question for words in WORDS.values()))
  metrics: dict[str, metrics_lib.Metric] = dict.fromkeys(("strict_match", "flexible_extract"), metrics_lib.Mean())
  metrics |= {} if variant == "direct" else {"wrong_language": metrics_lib.Mean("lower")}
  return protocol.Benchmark(
    name="mgsm",
    items=functools.partial(items, folder, variant, settings.shots or 0),
    ask=official.generate(settings, limit=512, stop=(*stops, *_ENDS), form="plain", temperature=0.0),
    grade=protocol.each(functools.partial(grade, variant=variant)),
    metrics=metrics,
    tags=("language",),
    against=("language", "en"),
  )


def _shot(row: Any, code: str, variant: str) -> protocol.Shot:
  """An official example; its answer without the words in front of it."""
  answer = row["a"].partition("：" if code in ("zh", "ja") else ":")[2].strip()
  if variant == "direct":
    found = _FLEXIBLE.findall(answer)
    answer = next(filter(None, found[-1])).strip(".。")
  return protocol.Shot(f"{row['q']}\n{ending(code, variant)}", f" {answer}")


def _whole(text: str, where: str) -> str:
  """The right number as lm-eval's rows have it. Raises InputError for what is none."""
  try:
    return str(int(text.replace(",", "")))
  except ValueError:
    raise errors.InputError(f"{where}: the answer {text!r} is no whole number") from None


BENCHMARK = official.Published(
  name="mgsm",
  axis="multilingual",
  title="MGSM",
  files=(FILES,),
  source="https://github.com/google-research/url-nlp/tree/main/mgsm",
  licence="CC BY 4.0",
  size="0.7 MB",
  metric="strict_match",
  make=make,
  variants=("native_cot", "en_cot", "direct"),
  shots=0,
  most_shots=8,
  subtask="language",
  parity="lm-eval's prompts of all rows, and its filters on 3,000 strings a language",
)
