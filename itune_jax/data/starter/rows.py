"""The built-in starter set as rows, generated from its seed at every use; nothing is stored twice."""

from collections.abc import Iterator

from itune_jax.core import errors
from itune_jax.data import example as example_lib
from itune_jax.data.readers import told_answers
from itune_jax.data.readers import preferences
from itune_jax.data.readers import readers
from itune_jax.data.starter import build

SPLITS = ("train", "heldout", "pairs", "heldout_pairs", "unpaired", "heldout_unpaired")


def rows(split: str) -> Iterator[readers.Row]:
  """Rows of a split. Raises InputError for another name."""
  if split not in SPLITS:
    raise errors.InputError(f"starter:{split}: splits are {', '.join(SPLITS)}")
  if split.endswith("pairs"):
    for line, raw in enumerate(build.pairs("train" if split == "pairs" else "heldout"), 1):
      yield readers.Row(f"starter:{split}", line, preferences.parse(raw))
    return
  if split.endswith("unpaired"):
    found = build.pairs("train" if split == "unpaired" else "heldout")
    sides = ((pair, side) for pair in found for side in preferences.SIDES)
    for line, (pair, side) in enumerate(sides, 1):
      raw = {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
      yield readers.Row(f"starter:{split}", line, told_answers.unpaired(raw))
    return
  for line, raw in enumerate(build.split(split), 1):
    yield readers.Row(f"starter:{split}", line, example_lib.from_json(raw))
