"""Rows of what is no file: kept once, found again by content, and named in one text on the command line."""

import dataclasses
import json
import os
import sys

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.data import fields
from itune_jax.data import mixing_text
from itune_jax.data import opening
from itune_jax.data import mixture as mixture_lib
from itune_jax.data.origins import origin as origin_lib
from itune_jax.data.origins import pins
from itune_jax.data.render import chat
from itune_jax.run import user_code


@dataclasses.dataclass(frozen=True, kw_only=True)
class Two(origin_lib.Origin):
  """Two sources at rates of 3 to 1; every fifth row of the first is none."""

  count: int = 10

  @property
  def called(self):
    return "two"

  def parts(self):
    row = lambda i: {"question": f"{i}?", "answer": f"{i}."} if i % 5 else "it is a fifth"
    yield origin_lib.Part("a", 3.0, (row(i) for i in range(self.count)))
    yield origin_lib.Part(
      "b", 1.0, iter([{"ids": [1, 2, 3], "weights": [0.0, 0.5, 1.0]}, {"ids": [1], "weights": [1.0]}])
    )


def mixture(**how):
  return mixture_lib.Mixture(name="m", sources=(mixture_lib.Source(name="s", origin=Two(**how), licence="CC0-1.0"),))


def test_rows_are_kept_once_and_found_by_content(tmp_path):
  root, module = str(tmp_path / "cache"), tmp_path / "mine.py"
  module.write_text("A = 1\n")
  modules = {"mine": str(module)}
  with pytest.raises(errors.InputError, match="two is not prepared"):
    opening.known(mixture(), root, modules)
  with pytest.raises(errors.InputError, match="read by `itune prepare`"):
    list(mixture().sources[0].rows())
  opened = opening.read(mixture(), root, modules)
  assert opening.known(mixture(), root, modules) == opened == opening.read(mixture(), root, modules)
  assert opened.shares({}) == {"a": 0.75, "b": 0.25} and opened.rates == "given"
  a, b = (list(source.rows()) for source in opened.sources)
  assert [(row.file, row.line, row.problem) for row in a[:2]] == [("two:a", 1, "it is a fifth"), ("two:a", 2, "")]
  assert a[1].example.answer == "1." and a[1].example.source == {
    "dataset": "a",
    "kind": "annotated",
    "licence": "CC0-1.0",
  }
  assert b[0].example.given == ((1, 2, 3), (0.0, 0.5, 1.0), "") and "nothing is predicted" in b[1].problem
  digests = [source.digest() for source in opened.sources]
  more = opening.read(mixture(count=11), root, modules)
  assert more.sources[0].digest() != digests[0] and more.sources[1].digest() == digests[1]
  left = sorted(os.listdir(os.path.join(root, "origins")))
  assert len(left) == 4 and not any(name.startswith(".partial") for name in left)
  module.write_text("A = 2\n")
  with pytest.raises(errors.InputError, match=r"mine\.py has changed since it was prepared"):
    opening.known(mixture(), root, modules)
  opening.known(mixture(), root, {})  # where the module is not there, as on a pod, nothing can have changed


def test_rates_of_a_mixture_inside_another_are_not_lost():
  file = mixture_lib.Source(name="f", path="f.jsonl", rate=1.0)
  both = lambda rates: dataclasses.replace(mixture(), sources=(*mixture().sources, file), rates=rates)
  parts = [pins.Pinned("a", 3.0, "/a"), pins.Pinned("b", 1.0, "/b")]
  found = opening._opened(both("given"), lambda origin: parts)
  assert found.shares({}) == {"s.a": 0.375, "s.b": 0.125, "f": 0.5}
  with pytest.raises(errors.InputError, match="set Mixture.rates = 'given'"):
    opening._opened(both("proportional"), lambda origin: parts)


def test_ids_are_trained_on_as_they_are_or_refused(tmp_path, smollm2_tokenizer):
  renderer = chat.Renderer(smollm2_tokenizer, chat.Rendering(max_length=4))
  encode = lambda text: smollm2_tokenizer(text)["input_ids"]
  asked, answer = encode("What is it?"), encode(" A cat.")
  of = lambda text: origin_lib.mapping("ids")({"inputs_ids": [], "targets_ids": answer, "targets": text})
  example = lambda row: pins._row(row, "x", 1, "auto", {}).example
  (row,) = renderer.render(example(of(" A cat.")))
  assert row.ids.tolist() == answer and row.weights.tolist() == [1.0] * len(answer)
  with pytest.raises(fields.BadRow, match="only chat = 'inputs_targets'"):
    renderer.render(example(of("A dog.")))
  with pytest.raises(fields.BadRow, match="tokenizer has 49152"):
    renderer.render(example({"ids": [1, 10**6], "weights": [0.0, 1.0]}))
  long = {"ids": [*asked, *answer], "weights": [0.0] * len(asked) + [1.0] * len(answer)}
  with pytest.raises(fields.BadRow, match="truncation leaves no trained token"):
    renderer.render(example(long))


@pytest.mark.parametrize(
  "given,reason",
  [
    ({"inputs": "q", "targets": 3}, "its `targets` are no text"),
    ({"inputs": " ", "targets": "a"}, "its `inputs` are empty"),
    ({"inputs": "q", "targets": "a", "weight": 1.0, "loss_weights": 1.0}, "under loss_weights and weight"),
    ({"inputs": "q", "targets": "a", "loss_weights": [0.0, 1.0]}, "only chat = 'ids' keeps"),
  ],
)
def test_fields_that_are_no_pair_say_why(given, reason):
  assert reason in origin_lib.mapped(origin_lib.mapping("inputs_targets"), given)


def test_fields_become_json_and_a_scalar_weight_is_the_turns():
  plain = origin_lib.plain({"inputs": b"caf\xc3\xa9", "n": np.int64(3), "a": np.ones((1, 2), np.float32)})
  assert json.loads(json.dumps(plain)) == {"inputs": "café", "n": 3, "a": [[1.0, 1.0]]}
  with pytest.raises(fields.BadRow, match="no UTF-8"):
    origin_lib.plain(b"\xff")
  row = origin_lib.mapped(origin_lib.mapping("inputs_targets"), {"inputs": "q", "targets": "a", "loss_weight": 0.25})
  assert row["messages"][1] == {"role": "assistant", "content": "a", "weight": 0.25}
  for name in ("chat", "no_such_module_x:f", "json:no_such"):
    with pytest.raises(errors.InputError):
      origin_lib.mapping(name)


@pytest.mark.parametrize(
  "text,expected",
  [
    ("a.jsonl", [("a.jsonl", "path", "", None)]),
    ("a.parquet,b.jsonl@0.3", [("a.parquet", "path", "", 0.7), ("b.jsonl", "path", "", 0.3)]),
    ("a@2,b@6", [("a", "path", "", 2.0), ("b", "path", "", 6.0)]),
    ("d/{x,y}.jsonl, e", [("d/{x,y}.jsonl", "path", "", None), ("e", "path", "", None)]),
    ("seqio:my_mix", [("my_mix", "seqio", "", None)]),
    (
      "tfds:a/b:1.0.0[train[:90%]]@0.5,grain:m:f@.5",
      [("a/b:1.0.0", "tfds", "train[:90%]", 0.5), ("m:f", "grain", "", 0.5)],
    ),
  ],
)
def test_one_text_names_several_sources(text, expected):
  assert [(one.what, one.kind, one.split, one.share) for one in mixing_text.read(text)] == expected


@pytest.mark.parametrize("text", ["a,,b", "a@0", "a@-1", "a@1,b", "a@0.6,b@0.5,c", "seqio:", "tfds:a[b", "a@1e999"])
def test_a_text_that_says_nothing_is_refused(text):
  with pytest.raises(errors.InputError) as e:
    mixing_text.read(text)
  assert "\n" not in str(e.value)


def test_the_text_becomes_sources_that_keep_what_else_was_said(tmp_path):
  alone = mixture_lib.Mixture(name="m", sources=(mixture_lib.Source(name="train", path="x/a.jsonl@0.3"),))
  assert [(s.name, s.path, s.rate) for s in alone.sources] == [("train", "x/a.jsonl", 0.3)] and alone.rates == "given"
  one = mixture_lib.Source(name="train", path="x/a.parquet,y/a.jsonl@0.3,seqio:t@0.2", licence="MIT", limit=5)
  found = mixture_lib.Mixture(name="m", sources=(one,))
  assert [(s.name, s.path, s.task, s.licence, s.limit) for s in found.sources] == [
    ("a_1", "x/a.parquet", "", "MIT", 5),
    ("a_2", "y/a.jsonl", "", "MIT", 5),
    ("t", "", "t", "MIT", 5),
  ]
  assert found.shares({}) == pytest.approx({"a_1": 0.5, "a_2": 0.3, "t": 0.2})
  odd = tmp_path / "a,b@2.jsonl"
  odd.write_text("")
  assert mixture_lib.Mixture(name="m", sources=(mixture_lib.Source(name="s", path=str(odd)),)).sources[0].path == str(
    odd
  )
  assert mixture_lib.Mixture(name="m", seqio="mix").sources[0].task == "mix"
  for wrong in ({"path": "a", "task": "t"}, {}, {"path": "a", "split": "test"}):
    with pytest.raises(errors.InputError):
      mixture_lib.Source(name="s", **wrong)


def test_a_module_that_registers_data_is_left_out_where_no_data_is_read(tmp_path, monkeypatch, capsys):
  (tmp_path / "origin_plain.py").write_text("X = 1\n")
  (tmp_path / "origin_tasks.py").write_text("try:\n  import seqio\nexcept Exception:\n  seqio = None\n")
  monkeypatch.setattr(sys, "path", list(sys.path))
  monkeypatch.delitem(sys.modules, "seqio", raising=False)
  user_code.forget()
  assert user_code.load("origin_plain", [str(tmp_path)], reads_data=False).X == 1
  assert user_code.load("origin_tasks", [str(tmp_path)], reads_data=False) is None
  assert "origin_tasks" not in sys.modules and "it registers data and is left out" in capsys.readouterr().err
  assert set(user_code.files()) == {"origin_plain", "origin_tasks"}
  assert user_code.files()["origin_tasks"] == str(tmp_path / "origin_tasks.py")
  user_code.forget()
