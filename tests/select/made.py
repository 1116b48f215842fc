"""Rows and a world outside, for tests of selections."""

import json
import pathlib

import numpy as np

from itune_jax.core import errors
from itune_jax.select import select_protocol
from itune_jax.select import selecting


class World(select_protocol.Outside):
  """Knows the benchmarks that it is given."""

  def __init__(self, **benchmarks):
    self._benchmarks = benchmarks

  def items(self, name):
    if name not in self._benchmarks:
      raise errors.InputError(f"no benchmark {name}")
    return iter(self._benchmarks[name])

  def benchmarks(self):
    return list(self._benchmarks)

  def embed(self, encoder, texts):
    """Counts of letters: texts of the same letters are the same."""
    return np.asarray([[text.count(chr(97 + i)) for i in range(26)] for text in texts], np.float32)


def no_progress(what, total):
  return lambda rows: None


def run(folder, rows, *steps, world=None, ask=None, overwrite=False, spread=None, **values):
  """(rows that are kept, manifest) of a selection of rows; a row that is text is written as it is."""
  folder = pathlib.Path(folder)
  source, output = folder / "in.jsonl", folder / "out.jsonl"
  source.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
  selection = select_protocol.Selection(steps=steps, **values)
  how = {"begin": no_progress, "outside": world or World(), "ask": ask, "overwrite": overwrite, "spread": spread}
  manifest = selecting.select(selection, str(source), str(output), **how)
  return [json.loads(line) for line in output.read_text().splitlines()], manifest


def dropped(manifest):
  """How many rows were dropped, by step and reason."""
  return {(one["step"], reason): n for one in manifest["passes"] for reason, n in one["dropped"].items()}
