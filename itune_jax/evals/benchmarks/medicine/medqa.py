"""MedQA-USMLE with four options (Jin et al. 2021), asked as lm-eval's `medqa_4options`.

The official file is `phrases_no_exclude_test.jsonl`: question, options {A: …}, answer_idx.
"""

from collections.abc import Iterator
import functools

from itune_jax.core import check
from itune_jax.evals import folders
from itune_jax.evals import lettered
from itune_jax.evals import official
from itune_jax.evals import protocol

FILE = "*test.jsonl"
PROMPT = "Question: {}\n{}Answer:"


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The questions; ids are their places. Raises InputError for a row whose answer is no letter of its options."""
  for number, (where, row) in enumerate(folders.objects(folders.one_of(folder, FILE))):
    question, right = (folders.words(row, name, where) for name in ("question", "answer_idx"))
    options = folders.field(row, "options", dict, where)
    names = sorted(options)
    check.require(right in names, f"{where}: answer_idx is {right!r}; the options are {', '.join(names)}")
    texts = [folders.field(options, name, str, where) for name in names]
    prompt = PROMPT.format(question, lettered.listed(texts))
    tags = {"step": row["meta_info"]} if isinstance(row.get("meta_info"), str) else {}
    yield lettered.item(texts, names.index(right), id=str(number), question=prompt, tags=tags, where=where)


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return lettered.benchmark("medqa", functools.partial(items, folder), settings, tags=("step",))


BENCHMARK = official.Published(
  name="medqa",
  axis="medicine",
  title="MedQA (USMLE, four options)",
  files=(FILE,),
  source="https://github.com/jind11/MedQA",
  licence="MIT",
  size="2 MB",
  count=1273,
  metric="acc",
  make=make,
  variants=lettered.VARIANTS,
  format_only=True,
  parity="lm-eval's prompt, character by character",
)
