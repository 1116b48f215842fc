"""Data sets of TFDS as rows, read from this machine. Importing this module imports TensorFlow."""

import os
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from itune_jax.core import jsontext
from itune_jax.core import errors
from itune_jax.data.origins import origin


def rows(data: origin.Asked) -> Iterator[origin.Row]:
  """The examples of a split in the order of its files. Raises InputError where the data set is not on this machine."""
  builder = _builder(data)
  how, features = origin.mapping(data.chat), builder.info.features
  options = tfds.ReadConfig(interleave_cycle_length=1, add_tfds_id=False)
  try:
    dataset = builder.as_dataset(split=data.split, shuffle_files=False, read_config=options)
  except (ValueError, AssertionError) as e:
    known = ", ".join(builder.info.splits)
    raise errors.InputError(f"{data.called}: {jsontext.said(e)} (splits are {known})") from None
  for example in tfds.as_numpy(dataset):
    yield origin.mapped(lambda each: how(_with_ids(_plain(features, each))), example)


def _builder(data: origin.Asked) -> Any:
  where = data.folder or os.path.expanduser("~/tensorflow_datasets")
  try:
    builder = tfds.builder(data.name, data_dir=data.folder or None, try_gcs=False)
  except Exception as e:  # TFDS raises several kinds for a name that it does not know
    first = next((line for line in str(e).splitlines() if line.strip()), type(e).__name__)
    raise errors.InputError(f"{data.called}: TFDS has no such data set in {where} ({first[:200]})") from None
  if not builder.is_prepared():
    raise errors.InputError(
      f"{data.called} is not prepared in {where}: nothing is downloaded here; build it there with TFDS, or name its "
      "folder (data_dir)"
    )
  return builder


def _plain(feature: Any, value: Any) -> Any:
  """A value as its feature has it: a sequence of objects, which TFDS gives as an object of lists, is a list of them."""
  if isinstance(feature, tfds.features.FeaturesDict):
    return {name: _plain(feature[name], value[name]) for name in feature}
  inner = feature.feature if isinstance(feature, tfds.features.Sequence) else None
  if isinstance(inner, tfds.features.FeaturesDict):
    columns = {name: origin.plain(value[name]) for name in inner}
    return [dict(zip(columns, one, strict=True)) for one in zip(*columns.values(), strict=True)]
  return origin.plain(value)


def _with_ids(given: dict[str, Any]) -> dict[str, Any]:
  """The fields, and those that hold ids under the names by which the mapping "ids" finds them."""
  ids = {
    f"{name}_ids": given[name] for name in ("inputs", "targets") if isinstance(given.get(name), list) and given[name]
  }
  return {**given, **ids}
