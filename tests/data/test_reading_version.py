"""What rows mean is part of a cache's address: when it changes, caches that were read otherwise are not used."""

import hashlib
import json
import pathlib

from itune_jax.data import fields
from itune_jax.data import mixture
from itune_jax.data import tokenised
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from tests.data import test_data
from tests.data import test_other_spellings

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "reading.json"


def _read(format, row):
  try:
    return [one.to_json() for one in readers.parse_all(dict(row), "", format)]
  except fields.BadRow as e:
    return str(e)


def found():
  """What rows of every format are read as, in one digest, and the version that they are read by."""
  rows = [*(("auto", row) for row in test_data.ROWS.values()), *test_other_spellings.CASES]
  read = json.dumps([_read(*case) for case in rows], sort_keys=True, ensure_ascii=True)
  return {"version": readers.VERSION, "rows": len(rows), "sha256": hashlib.sha256(read.encode()).hexdigest()}


def test_the_golden_changes_only_with_the_version():
  """When this fails because reading changed on purpose: raise readers.VERSION, then scripts/make_goldens.py reading."""
  assert found() == json.loads(GOLDEN.read_text())


def test_a_cache_that_was_read_otherwise_has_another_address(monkeypatch, smollm2_tokenizer):
  source, renderer = mixture.Source(name="starter", path="starter:train"), chat.Renderer(smollm2_tokenizer)
  before = tokenised.source_key(source, renderer)
  monkeypatch.setattr(readers, "VERSION", readers.VERSION + 1)
  assert tokenised.source_key(source, renderer) != before
