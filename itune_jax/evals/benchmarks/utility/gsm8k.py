"""GSM8K: grade-school word problems that end in a number (Cobbe et al. 2021).

| variant | prompt | shots | read by |
|---|---|---|---|
| `cot` | "Q: … A:", lm-eval's `gsm8k_cot` | the eight of Wei et al. 2022 | "The answer is …" |
| `lm_eval` | "Question: … Answer:", lm-eval's `gsm8k` | the first five rows of the train file | "#### …" |
| `cot_zeroshot` | "Q: … A: Let's think step by step." | none | "The answer is …" |

lm-eval draws the five anew for each question; here they are the same for all, so that a figure does not hang on a draw.
strict_match and flexible_extract are lm-eval's two filters; of several samples a figure is the share that is right.
"""

from collections.abc import Iterator
import functools
import itertools

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import protocol
from itune_jax.evals import official
from itune_jax.evals.benchmarks.utility import gsm8k_shots
from itune_jax.grading import extract
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

ENDS = ("</s>", "<|im_end|>")
QUESTIONS = {
  "cot": "Q: {}\nA:",
  "lm_eval": "Question: {}\nAnswer:",
  "cot_zeroshot": "Q: {}\nA: Let's think step by step.",
}
STOPS = {"cot": ("Q:", *ENDS), "lm_eval": ("Question:", *ENDS), "cot_zeroshot": ("Q:", *ENDS)}


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with test.jsonl, and train.jsonl for the variant lm_eval."""
  variant = settings.variant
  return protocol.Benchmark(
    name="gsm8k",
    items=functools.partial(items, folder, variant, settings.shots or 0),
    ask=official.generate(settings, limit=512, stop=STOPS[variant], form="plain", temperature=0.0),
    grade=protocol.each(functools.partial(grade, sentence=variant != "lm_eval")),
    metrics={"strict_match": metrics_lib.Mean(), "flexible_extract": metrics_lib.Mean()},
  )


def items(folder: folders.Folder, variant: str, count: int) -> Iterator[protocol.Item]:
  """The problems of the test file; ids are their places in it. Raises InputError for rows without a gold number."""
  put = QUESTIONS[variant].format
  shots = tuple(protocol.Shot(put(shot.question), " " + shot.answer) for shot in _shots(folder, variant, count))
  for number, (where, row) in enumerate(folder.lines("test.jsonl")):
    question, answer = _row(row, where)
    yield protocol.Item(id=str(number), question=put(question), answer=answer, shots=shots, where=where)


def grade(item: protocol.Item, answer: requests_lib.Response, *, sentence: bool) -> protocol.Graded:
  """Both of lm-eval's filters, on each sample. sentence: the strict one reads "The answer is …"."""
  strict = [extract.gsm8k_strict(sample.text, sentence=sentence) for sample in answer.samples]
  flexible = [extract.gsm8k_flexible(sample.text) for sample in answer.samples]
  values = {
    name: sum(extract.gsm8k_match(one, item.answer) for one in found) / len(found)
    for name, found in (("strict_match", strict), ("flexible_extract", flexible))
  }
  return protocol.Graded(values, {"extracted": flexible[0], "extracted_strict": strict[0]})


def _shots(folder: folders.Folder, variant: str, count: int) -> list[protocol.Shot]:
  if variant == "cot":
    check.require(
      count <= len(gsm8k_shots.SHOTS), f"gsm8k: the variant cot has 8 examples, {count} are asked for (shots)"
    )
    return list(gsm8k_shots.SHOTS[:count])
  if variant == "cot_zeroshot":
    check.require(not count, f"gsm8k: the variant cot_zeroshot has no examples, {count} are asked for (shots)")
  if not count:
    return []
  rows = folders.objects(folder.files("train*.jsonl*")[0])
  found = [protocol.Shot(*_row(row, where)) for where, row in itertools.islice(rows, count)]
  check.require(len(found) == count, f"gsm8k: the train file has {len(found)} rows, {count} are asked for (shots)")
  return found


def _row(row: dict, where: str) -> tuple[str, str]:
  """Question and answer, which ends in its number."""
  question, answer = (folders.words(row, name, where) for name in ("question", "answer"))
  if extract.gsm8k_official(answer) == extract.INVALID:
    raise errors.InputError(f"{where}: 'answer' has no number behind '#### ': {answer[-40:]!r}")
  return question, answer


BENCHMARK = official.Published(
  name="gsm8k",
  axis="utility",
  title="GSM8K: grade-school mathematics in words",
  files=("test.jsonl",),
  source="https://github.com/openai/grade-school-math",
  hub="openai/gsm8k",
  licence="MIT",
  size="0.7 MB (test), 4 MB (train)",
  count=1319,
  metric="flexible_extract",
  make=make,
  variants=("cot", "lm_eval", "cot_zeroshot"),
  shots=8,
  variant_shots={"lm_eval": 5, "cot_zeroshot": 0},
  most_shots=100,
  parity="lm-eval's prompts and filters, the authors' rule: 3,000 strings each",
)
