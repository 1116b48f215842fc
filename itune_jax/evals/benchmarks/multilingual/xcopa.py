"""XCOPA: which of two sentences is cause or effect of a third (Ponti et al. 2020), asked as lm-eval's `xcopa_*`.

There is no English part (that is COPA), so there is no gap to English; a file `test.en.jsonl` in the same form would
give one.
"""

from collections.abc import Iterator, Sequence
import functools
import re

from itune_jax.core import check
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

# Cause and effect, of lm_eval/tasks/xcopa/utils.py; English as its task `copa` has it.
CONNECTORS = {
  "en": ("because", "therefore"),
  "et": ("sest", "seetõttu"),
  "ht": ("poukisa", "donk sa"),
  "id": ("karena", "maka"),
  "it": ("perché", "quindi"),
  "qu": ("imataq", "chaymi"),
  "sw": ("kwa sababu", "kwa hiyo"),
  "ta": ("காரணமாக", "எனவே"),
  "th": ("เพราะ", "ดังนั้น"),
  "tr": ("çünkü", "bu yüzden"),
  "vi": ("bởi vì", "vì vậy"),
  "zh": ("因为", "所以"),
}
FILES = "test.*.jsonl"
_FILE = re.compile(r"test\.(\w+)\.jsonl(?:\.gz)?$")


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The test rows of each language that has a file. Raises InputError for a language or a row that is none."""
  for path in folder.files(FILES):
    found = _FILE.search(path)
    code = found[1] if found else ""
    check.require(code in CONNECTORS, f"{path}: {code!r} is no language of XCOPA; they are {', '.join(CONNECTORS)}")
    for where, row in folders.objects(path):
      premise, asked = (folders.words(row, name, where) for name in ("premise", "question"))
      choices = [folders.words(row, name, where) for name in ("choice1", "choice2")]
      label = folders.field(row, "label", int, where)
      check.require(asked in ("cause", "effect"), f"{where}: 'question' is {asked!r}; it is cause or effect")
      check.require(label in (0, 1) and all(choices), f"{where}: label {label} and both choices must name one of two")
      yield protocol.Item(
        id=f"{code}/{folders.field(row, 'idx', int, where)}",
        question=f"{premise.strip()[:-1]} {CONNECTORS[code][asked == 'effect']}",
        choices=tuple(f" {one[0].lower()}{one[1:]}" for one in choices),
        answer=label,
        cluster=str(row["idx"]),
        tags={"language": code, "asked": asked},
        where=where,
      )


def grade(item: protocol.Item, answer: Sequence[requests_lib.Score]) -> dict[str, bool]:
  """Whether the first of the likeliest is right."""
  scores = [one.logprob for one in answer]
  return {"acc": scores.index(max(scores)) == item.answer}


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with test.*.jsonl."""
  return protocol.Benchmark(
    name="xcopa",
    items=functools.partial(items, folder),
    ask=official.choose(settings),
    grade=protocol.each(grade),
    metrics={"acc": metrics_lib.Mean()},
    tags=("language", "asked"),
    against=("language", "en"),
  )


BENCHMARK = official.Published(
  name="xcopa",
  axis="multilingual",
  title="XCOPA",
  files=(FILES,),
  source="https://github.com/cambridgeltl/xcopa",
  licence="CC BY 4.0",
  size="1.1 MB",
  metric="acc",
  make=make,
  subtask="language",
  parity="lm-eval's prompts and choices of all stored rows",
)
