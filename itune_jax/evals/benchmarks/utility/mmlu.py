"""MMLU: four choices each from 57 subjects in four categories (Hendrycks et al. 2021).

| variant | prompt and answer | lm-eval |
|---|---|---|
| `letter` | choices "A. …" in the prompt; the likeliest letter | `mmlu` |
| `text` | the question alone; the likeliest text, in all and per character | `mmlu_continuation` |
| `generate` | as `letter`; a line is generated and compared with the letter | `mmlu_generative` |

Examples are the first of the subject's dev file. acc of all items is what lm-eval calls the mean weighted by size; of
choices that are equally likely the first counts, as there.

Files are the official CSV (`test/anatomy_test.csv`, `dev/anatomy_dev.csv`), JSON lines with `subject`, `question`,
`choices` and `answer` (0 to 3) (`test.jsonl`, `dev.jsonl`), or parquet with the same columns, by subject or `all`.
"""

from collections.abc import Iterator, Sequence
import functools
from typing import NamedTuple

from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import protocol
from itune_jax.evals import official
from itune_jax.evals.benchmarks.utility import choice_files
from itune_jax.grading import letters
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

STEM = (
  *("abstract_algebra", "anatomy", "astronomy", "college_biology", "college_chemistry", "college_computer_science"),
  *("college_mathematics", "college_physics", "computer_security", "conceptual_physics", "electrical_engineering"),
  *("elementary_mathematics", "high_school_biology", "high_school_chemistry", "high_school_computer_science"),
  *("high_school_mathematics", "high_school_physics", "high_school_statistics", "machine_learning"),
)
HUMANITIES = (
  *("formal_logic", "high_school_european_history", "high_school_us_history", "high_school_world_history"),
  *("international_law", "jurisprudence", "logical_fallacies", "moral_disputes", "moral_scenarios", "philosophy"),
  *("prehistory", "professional_law", "world_religions"),
)
SOCIAL = (
  *("econometrics", "high_school_geography", "high_school_government_and_politics", "high_school_macroeconomics"),
  *("high_school_microeconomics", "high_school_psychology", "human_sexuality", "professional_psychology"),
  *("public_relations", "security_studies", "sociology", "us_foreign_policy"),
)
OTHER = (
  *("business_ethics", "clinical_knowledge", "college_medicine", "global_facts", "human_aging", "management"),
  *("marketing", "medical_genetics", "miscellaneous", "nutrition", "professional_accounting"),
  *("professional_medicine", "virology"),
)
CATEGORIES = {
  subject: category
  for category, subjects in (("stem", STEM), ("humanities", HUMANITIES), ("social_sciences", SOCIAL), ("other", OTHER))
  for subject in subjects
}


class Way(NamedTuple):
  """How a variant is put. lettered: the choices stand in the prompt."""

  lettered: bool
  generates: bool = False


WAYS = {"letter": Way(True), "text": Way(False), "generate": Way(True, True)}


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder that holds all subjects."""
  return benchmark(folder, settings, CATEGORIES)


def benchmark(
  folder: folders.Folder, settings: official.Settings, categories: dict[str, str] | None
) -> protocol.Benchmark:
  """The benchmark of any folder in this format. categories: of the subjects that there must be, None for any."""
  way = WAYS[settings.variant]
  acc = {"acc": metrics_lib.Mean()} | ({} if way.lettered else {"acc_norm": metrics_lib.Mean()})
  generated = official.generate(settings, limit=32, stop=("</s>", "\n"), form="plain", temperature=0.0)
  return protocol.Benchmark(
    name="mmlu",
    items=functools.partial(items, folder, way, settings.shots or 0, categories),
    ask=generated if way.generates else official.choose(settings),
    grade=protocol.each(said if way.generates else likeliest),
    metrics={"exact_match": metrics_lib.Mean()} if way.generates else acc,
    tags=("category", "subject") if categories else ("subject",),
  )


def items(folder: folders.Folder, way: Way, count: int, categories: dict[str, str] | None) -> Iterator[protocol.Item]:
  """The questions, subject by subject as the files have them; ids are the subject and the place within it.

  Raises InputError for a subject that there is not, one that lacks, and one with too few examples.
  """
  examples = choice_files.by_subject(choice_files.rows(folder, "dev")) if count else {}
  places: dict[str, int] = {}
  for row in choice_files.rows(folder, "test"):
    if categories is not None and row.subject not in categories:
      raise errors.InputError(f"{row.where}: {row.subject!r} is no subject of MMLU")
    place = places[row.subject] = places.get(row.subject, -1) + 1
    category = {"category": categories[row.subject]} if categories else {}
    yield protocol.Item(
      id=f"{row.subject}/{place}",
      question=put(row, way),
      head=head(row.subject, way),
      shots=_shots(examples, row.subject, count, way),
      choices=() if way.generates else tuple(" " + choice for choice in named(row, way)),
      answer=letter(row.answer),
      tags={"subject": row.subject, **category},
      where=row.where,
    )
  if lacking := sorted(set(categories or ()) - set(places)):
    raise errors.InputError(f"{folder.path}: the subject {lacking[0]} has no test rows ({len(lacking)} lack)")


def head(subject: str, way: Way) -> str:
  """The line in front of a subject's questions."""
  kind = "multiple choice questions" if way.lettered else "questions"
  return f"The following are {kind} (with answers) about {subject.replace('_', ' ')}.\n\n"


def put(row: choice_files.Row, way: Way) -> str:
  """A question as a prompt ends with it."""
  if not way.lettered:
    return f"Question: {row.question.strip()}\nAnswer:"
  choices = "".join(f"{letter(i)}. {choice}\n" for i, choice in enumerate(row.choices))
  return f"{row.question.strip()}\n{choices}Answer:"


def named(row: choice_files.Row, way: Way) -> Sequence[str]:
  """What the choices are called in an answer."""
  return [letter(i) for i in range(len(row.choices))] if way.lettered else row.choices


def letter(index: int) -> str:
  """A, B, …"""
  return chr(ord("A") + index)


def likeliest(item: protocol.Item, answer: Sequence[requests_lib.Score]) -> protocol.Graded:
  """Whether the first of the likeliest choices is right, and the first of the likeliest per character."""
  logprobs = [score.logprob for score in answer]
  by_length = [one / max(len(choice) - 1, 1) for one, choice in zip(logprobs, item.choices, strict=True)]
  chosen = [letter(scores.index(max(scores))) for scores in (logprobs, by_length)]
  return protocol.Graded({"acc": chosen[0] == item.answer, "acc_norm": chosen[1] == item.answer}, {"chosen": chosen[0]})


def said(item: protocol.Item, answer: requests_lib.Response) -> protocol.Graded:
  """Whether the first line is the letter, but for case and punctuation; the share of the samples where it is."""
  lines = [letters.first_line(sample.text) for sample in answer.samples]
  right = sum(letters.same_letter(line, item.answer) for line in lines) / len(lines)
  return protocol.Graded({"exact_match": right}, {"extracted": lines[0]})


def _shots(
  examples: dict[str, list[choice_files.Row]], subject: str, count: int, way: Way
) -> tuple[protocol.Shot, ...]:
  given = examples.get(subject, [])[:count]
  if len(given) < count:
    raise errors.InputError(f"the dev file has {len(given)} examples of {subject}, {count} are asked for (shots)")
  return tuple(protocol.Shot(put(row, way), " " + named(row, way)[row.answer]) for row in given)


BENCHMARK = official.Published(
  name="mmlu",
  axis="utility",
  title="MMLU: knowledge of 57 subjects by multiple choice",
  files=choice_files.PATTERNS,
  source="https://github.com/hendrycks/test",
  hub="cais/mmlu",
  licence="MIT",
  size="7 MB",
  count=14042,
  metric="acc",
  make=make,
  variants=tuple(WAYS),
  shots=5,
  most_shots=5,
  subtask="subject",
  parity="lm-eval's prompts of all questions, and its filters on 3,000 strings each",
)
