"""Belebele: reading with four choices in 122 languages, the same questions in each (Bandarkar et al. 2024).

A file a language, named by FLORES' code: `deu_Latn.jsonl`. Asked as lm-eval's `belebele_*`.
"""

from collections.abc import Iterator
import functools
import os
import re

from itune_jax.core import check
from itune_jax.evals import folders
from itune_jax.evals import lettered
from itune_jax.evals import official
from itune_jax.evals import protocol

FILES = "???_????.jsonl|data/???_????.jsonl"
_FILE = re.compile(r"([a-z]{3}_[A-Z][a-z]{3})\.jsonl(?:\.gz)?$")


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The questions of each language that has a file; passage and number of a question are its cluster."""
  for path in folder.files(FILES):
    found = _FILE.search(os.path.basename(path))
    check.require(found, f"{path}: no file of a language is called so, as deu_Latn.jsonl is")
    code = found[1] if found else ""
    for where, row in folders.objects(path):
      passage, question = (folders.field(row, name, str, where) for name in ("flores_passage", "question"))
      options = [folders.field(row, f"mc_answer{i}", str, where) for i in range(1, 5)]
      right = str(folders.field(row, "correct_answer_num", (int, str), where))
      check.require(right in ("1", "2", "3", "4"), f"{where}: correct_answer_num is {right!r}; it is 1 to 4")
      cluster = f"{folders.field(row, 'link', str, where)}#{row.get('question_number')}"
      yield lettered.item(
        options,
        int(right) - 1,
        id=f"{code}/{cluster}",
        question=f"P: {passage}\nQ: {question.strip()}\n{lettered.listed(options, '{}: {}' + chr(10))}Answer:",
        cluster=cluster,
        tags={"language": code},
        where=where,
      )


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder of languages."""
  made = functools.partial(items, folder)
  return lettered.benchmark("belebele", made, settings, tags=("language",), against=("language", "eng_Latn"))


BENCHMARK = official.Published(
  name="belebele",
  axis="multilingual",
  title="Belebele",
  files=(FILES,),
  source="https://github.com/facebookresearch/belebele",
  hub="facebook/belebele",
  licence="CC BY-SA 4.0",
  size="1 MB a language",
  metric="acc",
  make=make,
  variants=lettered.VARIANTS,
  subtask="language",
  format_only=True,
  parity="lm-eval's prompt, character by character",
)
