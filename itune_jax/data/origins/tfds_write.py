"""The starter set, and any prepared mixture, as TFDS data sets. Importing this module imports TensorFlow."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import pack
from itune_jax.data import tokenised
from itune_jax.data.starter import build


class ItuneStarter(tfds.core.GeneratorBasedBuilder):
  """The starter set: conversations by template and by hand, with how an answer to each is judged. CC0.

  `messages` are the turns, which the mapping "rows" reads; `row` is the whole row as JSON text, for the mapping "json".
  """

  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    turn = tfds.features.FeaturesDict({"role": tfds.features.Text(), "content": tfds.features.Text()})
    features = {
      "id": tfds.features.Text(),
      "domain": tfds.features.Text(),
      "messages": tfds.features.Sequence(turn),
      "row": tfds.features.Text(),
    }
    kept: Any = dict(builder=self, description=self.__doc__, features=tfds.features.FeaturesDict(features))
    return tfds.core.DatasetInfo(**kept, license="CC0-1.0", disable_shuffling=True)

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager  # nothing is downloaded
    return {"train": self._generate_examples("train"), "test": self._generate_examples("heldout")}

  def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in enumerate(build.split(split)):
      turns = [{"role": one["role"], "content": one["content"]} for one in row["messages"]]
      told = {"id": row["id"], "domain": row["domain"], "messages": turns}
      yield number, {**told, "row": jsontext.dumps(row)}


def starter(data_dir: str) -> str:
  """Builds the starter set in a folder of data sets; returns the folder of the data set."""
  builder = ItuneStarter(data_dir=data_dir)
  builder.download_and_prepare()
  return str(builder.data_dir)


def prepared(sources: Mapping[str, tokenised.Examples], rates: Mapping[str, float], name: str, data_dir: str) -> str:
  """Writes a prepared mixture as a data set: a config for each source, named as it is, split `train`.

  An example has `targets` (its ids), `targets_loss_weights` (of each), and `source`. `tfds:NAME/SOURCE` with the
  mapping "ids" trains on it as on the source itself. Rates stand in the description, for TFDS knows none. Returns the
  folder of the data set. Raises InputError for a name that TFDS does not take, for groups and for images.
  """
  named = re.sub(r"[^a-z0-9_]", "_", name.lower())
  if not re.fullmatch(r"[a-z][a-z0-9_]*", named):
    raise errors.InputError(f"the mixture's name {name!r} is none that TFDS takes: let it begin with a letter")
  for source, examples in sources.items():
    if examples.schema.grouped or examples.schema.columns or examples.scale is not None:
      raise errors.InputError(
        f"source {source} holds pairs, columns or images, which are not written as a TFDS data set"
      )
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", source):
      raise errors.InputError(f"the source's name {source!r} is none that TFDS takes as a config: rename it")
  features = tfds.features.FeaturesDict(
    {
      "targets": tfds.features.Tensor(shape=(None,), dtype=np.int32),
      "targets_loss_weights": tfds.features.Tensor(shape=(None,), dtype=np.float32),
      "source": tfds.features.Text(),
    }
  )
  for source in sources:
    where = os.path.join(data_dir, named, source)
    if os.path.exists(where):
      raise errors.InputError(f"{where} is there already: remove it, or name another folder")
  for source, examples in sources.items():
    share = f"{rates[source]:.6g} of the mixture {name} is drawn from it"
    given: Any = dict(features=features, config=source, data_dir=data_dir, description=share, disable_shuffling=True)
    tfds.dataset_builders.store_as_tfds_dataset(
      name=named, version="1.0.0", split_datasets={"train": _Rows(source, examples)}, **given
    )
  return os.path.join(data_dir, named)


class _Rows(Iterable):
  """The examples of a source, numbered, one at a time."""

  def __init__(self, source: str, examples: tokenised.Examples):
    self._source, self._examples = source, examples

  def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
    for number in range(len(self._examples)):
      one = self._examples[number]
      if isinstance(one, pack.Group):  # refused before
        continue
      yield number, {"targets": one.ids, "targets_loss_weights": one.weights, "source": self._source}
