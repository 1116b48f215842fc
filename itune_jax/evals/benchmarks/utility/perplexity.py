"""How well any text is predicted: perplexity by words and by bytes, and bits per byte, as lm-eval's rolling tasks.

A document is a file (`*.txt`), or a row with `text` (`*.jsonl`). Each is scored alone from the model's first token on,
in windows that lie side by side. The log-probabilities of all documents are added and divided once by all words or
bytes, never document by document. Words are what white space parts (an end of it counts as one more, as there).
"""

from collections.abc import Iterator, Sequence
import dataclasses
import functools
import os
import re

import numpy as np

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.evals import ask
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading.statistics import bootstrap
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

FILES = "*.txt|*.jsonl"


@dataclasses.dataclass(frozen=True)
class PerUnit(metrics_lib.Resampled):
  """Σ log-probability in nats / Σ units over documents' pairs of them: exp of minus that, or minus that in bits.

  bits: whether it is given in bits, not as a perplexity.
  """

  better: contracts.Better = "lower"
  bits: bool = False

  def statistic(self, values: Sequence[metrics_lib.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Sums of log-probabilities and units by cluster. Raises InputError for a document without a unit."""
    features = np.array([[metrics_lib.number(part) for part in metrics_lib.pair(value)] for value in values])
    if not (features[:, 1] > 0).all():
      raise errors.InputError("a document has no word or byte to divide by")
    return bootstrap.Sums(bootstrap.summed(features, groups_N), self._of)

  def _of(self, sums_BF: np.ndarray) -> np.ndarray:
    nats_B = -metrics_lib.ratio(sums_BF)
    return nats_B / np.log(2) if self.bits else np.exp(nats_B)


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder of texts."""
  del settings  # there is nothing to choose
  return protocol.Benchmark(
    name="perplexity",
    items=functools.partial(items, folder),
    ask=ask.Rolling(),
    grade=protocol.each(grade),
    metrics={"word_perplexity": PerUnit(), "byte_perplexity": PerUnit(), "bits_per_byte": PerUnit(bits=True)},
    tags=("file",),
    percent=False,
  )


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The documents; ids are names of files, and places in them. Raises InputError for an empty one."""
  for path in folder.files(FILES):
    name = os.path.basename(path)
    if not path.removesuffix(".gz").endswith(".jsonl"):
      yield _item(name, folders.text_of(path), name, path)
      continue
    for number, (where, row) in enumerate(folders.objects(path)):
      yield _item(f"{name}/{number}", folders.field(row, "text", str, where), name, where)


def grade(item: protocol.Item, answer: requests_lib.Score) -> dict[str, tuple[float, int]]:
  """What lm-eval divides: the log-probability, and words or bytes."""
  text = str(item.question)
  words, size = len(re.split(r"\s+", text)), len(text.encode())
  return {
    "word_perplexity": (answer.logprob, words),
    "byte_perplexity": (answer.logprob, size),
    "bits_per_byte": (answer.logprob, size),
  }


def _item(id: str, text: str, name: str, where: str) -> protocol.Item:
  if not text:
    raise errors.InputError(f"{where}: an empty text has no perplexity")
  return protocol.Item(id=id, question=text, tags={"file": name}, where=where)


BENCHMARK = official.Published(
  name="perplexity",
  axis="utility",
  title="Perplexity and bits per byte of your own texts",
  files=(FILES,),
  source="your own texts",
  licence="yours",
  size="any",
  metric="bits_per_byte",
  make=make,
  parity="lm-eval's rolling figures, to 1e-12",
)
