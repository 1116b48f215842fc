"""Global-MMLU: MMLU in 42 languages, its questions marked as bound to a culture (CS) or not (CA) (Singh et al. 2024).

A folder a language as on the hub: `de/test-*.parquet`, or `de/test.jsonl` with the same columns. Asked as lm-eval's
`global_mmlu_full_*`; figures by language, by category, and by culture.
"""

from collections.abc import Iterator
import functools
import os

from itune_jax.core import check
from itune_jax.evals import folders
from itune_jax.evals import lettered
from itune_jax.evals import official
from itune_jax.evals import protocol

FILES = "*/test-*.parquet|*/test.jsonl"
OPTIONS = ("option_a", "option_b", "option_c", "option_d")


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The questions of each language that has a folder; a sample is one cluster in all languages."""
  for path in folder.files(FILES):
    code = os.path.basename(os.path.dirname(path))
    for where, row in folders.objects(path):
      question, answer = (folders.field(row, name, str, where) for name in ("question", "answer"))
      options = [folders.field(row, name, str, where) for name in OPTIONS]
      check.require(answer in tuple("ABCD"), f"{where}: the answer is {answer!r}; it is A, B, C or D")
      sample = folders.field(row, "sample_id", str, where)
      culture = row.get("cultural_sensitivity_label")
      tags = {"language": code, "category": folders.field(row, "subject_category", str, where)}
      yield lettered.item(
        options,
        "ABCD".index(answer),
        id=f"{code}/{sample}",
        question=f"{question.strip()}\n{lettered.listed(options)}Answer:",
        cluster=sample,
        tags=tags | ({"culture": culture} if culture in ("CS", "CA") else {}),
        where=where,
      )


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder of languages."""
  tags, made = ("language", "category", "culture"), functools.partial(items, folder)
  return lettered.benchmark("global_mmlu", made, settings, tags=tags, against=("language", "en"))


BENCHMARK = official.Published(
  name="global_mmlu",
  axis="multilingual",
  title="Global-MMLU",
  files=(FILES,),
  source="https://huggingface.co/datasets/CohereForAI/Global-MMLU",
  hub="CohereForAI/Global-MMLU",
  licence="Apache-2.0",
  size="7 MB a language",
  metric="acc",
  make=make,
  variants=lettered.VARIANTS,
  subtask="language",
  format_only=True,
  parity="lm-eval's prompt, character by character",
)
