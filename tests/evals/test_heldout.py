"""Held-out loss, of a model that says what a table says: figures, and what a comparison makes of the rows."""

import dataclasses
import json
import zlib

import numpy as np
import pytest

from itune_jax.data import mixture
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib
from itune_jax.evals import heldout
from itune_jax.run import cli
from itune_jax.run import results
from tests.data.render import stand_in
from tests.data.test_doors_fuzz import characters


@dataclasses.dataclass
class View:
  """Nats by token and a number; it forgets what a position's neighbours are."""

  seed: int

  def token_losses(self, batch):
    nats = np.vectorize(lambda token: zlib.crc32(f"{self.seed}/{token}".encode()) / 2**32)(batch.targets_BT)
    nats = np.where(batch.weights_BT != 0, nats, 0).astype(np.float32)
    return nats, (nats < 0.5) & (batch.weights_BT != 0)


@pytest.fixture(name="bound")
def _bound(tmp_path):
  """Two sources; of a row one turn weighs half, another row stands there twice, one is too long."""
  turns = lambda *said: [{"role": r, "content": c} for r, c in zip(("user", "assistant") * 2, said, strict=False)]
  first = [{"messages": turns(f"question {i}", f"answer {i}" * (i % 3 + 1))} for i in range(9)]
  first += [first[0], {"messages": turns("q", "a" * 300)}]
  halved = turns("q", "light", "again", "heavy")
  halved[1]["weight"] = 0.5
  second = [{"messages": halved}, *({"messages": turns(f"other {i}", f"{i}")} for i in range(5))]
  sources = []
  for name, rows in (("one", first), ("two", second)):
    (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sources.append(mixture.Source(name=name, path=str(tmp_path / f"{name}.jsonl")))
  renderer = chat.Renderer(stand_in.With(characters(), tokenizer_lib.named("chatml")), chat.Rendering())
  return heldout.HeldOut(sources=tuple(sources), row_length=256, rows=3).bind(renderer, 0)


def test_the_loss_is_nats_a_weight_over_rows_however_they_are_packed(bound):
  found = bound.run(View(0))
  items = [(source, row.item) for source, rows in bound.rendered.items() for row in rows]
  assert len(items) == len(found.rows) == 16 and len({row["id"] for row in found.rows}) == 16
  by_source = {"": [0.0, 0.0], "one": [0.0, 0.0], "two": [0.0, 0.0]}
  for (source, item), row in zip(items, found.rows, strict=True):
    nats = [zlib.crc32(f"0/{token}".encode()) / 2**32 for token in item.ids[1:]]
    own = [float(np.dot(item.weights[1:], nats)), float(item.weights[1:].sum())]
    assert row["values"]["loss"] == pytest.approx(own) and row["tags"] == {"source": source}
    for key in ("", source):
      by_source[key] = [a + b for a, b in zip(by_source[key], own, strict=True)]
  assert any(row["values"]["loss"][1] != row["values"]["accuracy"][1] for row in found.rows)  # of the half weight
  for source, (nats, weight) in by_source.items():
    (one,) = [r for r in found.results if r.metric == "loss" and r.tag == source]
    assert one.value == pytest.approx(nats / weight) and one.low < one.value < one.high
    assert (one.n, one.of) == {"": (16, 17), "one": (10, 11), "two": (6, 6)}[source]
  again = dataclasses.replace(bound, row_length=512, rows=1).run(View(0))
  assert [row["id"] for row in again.rows] == [row["id"] for row in found.rows]
  assert [r.value for r in again.results] == pytest.approx([r.value for r in found.results])


def test_a_model_that_diverged_has_no_loss(bound, tmp_path, capsys):
  """Its rows hold no value, and it is compared as it was recorded."""
  view = View(0)
  view.token_losses = lambda batch: (np.full(batch.weights_BT.shape, np.nan, np.float32), batch.weights_BT != 0)
  found = bound.run(view)
  assert all(np.isnan(r.value) and r.low is None for r in found.results if r.metric == "loss")
  assert {row["values"]["loss"] for row in found.rows} == {None}
  results.write_into(str(tmp_path / "a"), "heldout", bound.run(View(0)))
  results.write_into(str(tmp_path / "b"), "heldout", found)
  assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) in (0, 2)
  assert "Traceback" not in capsys.readouterr().err


def test_two_runs_are_compared_row_by_row(bound, tmp_path, capsys):
  for seed in (0, 1):
    results.write_into(str(tmp_path / f"run{seed}"), "heldout", bound.run(View(seed)))
  assert cli.main(["compare", *(str(tmp_path / f"run{seed}") for seed in (0, 1)), "--format=json"]) == 0
  rows = json.loads(capsys.readouterr().out)["rows"]
  (loss,) = [row for row in rows if row["metric"] == "loss" and not row.get("tag")]
  assert loss["difference_low"] < loss["difference_value"] < loss["difference_high"] and loss["better"] == "lower"
  assert loss["test"] != "none"
