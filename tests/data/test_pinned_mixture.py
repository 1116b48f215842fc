"""A mixture that is pinned by its manifest is trained on as it was prepared, or refused in one line."""

import json
import os
import pathlib
import shutil

import pytest

from itune_jax.core import digests
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.data import feed
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import pinned_mixture
from itune_jax.data import tokenised
from itune_jax.data import validation
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from itune_jax.run.commands import train_flags


@pytest.fixture(name="renderer", scope="module")
def renderer_fixture(smollm2_tokenizer):
  return chat.Renderer(smollm2_tokenizer, chat.Rendering(max_length=64))


@pytest.fixture(name="pinned")
def pinned_fixture(tmp_path, renderer, monkeypatch):
  """The manifest of a mixture of two sources, moved away from where it was prepared, without its raw files."""
  monkeypatch.setattr(digests, "_kept_in", "")
  manifest, keys = {"name": "m", "rates": {"a": 0.5, "b": 0.5}, "sources": []}, []
  for name in "ab":
    raw = tmp_path / f"{name}.jsonl"
    raw.write_text("".join(json.dumps({"prompt": f"{name} {i}", "completion": "yes"}) + "\n" for i in range(3)))
    source = mixture_lib.Source(name=name, path=str(raw))
    mixture = mixture_lib.Mixture(name="m", sources=(source,))
    manifest["sources"].append(tokenised.write_source(str(tmp_path / "cache"), mixture, source, renderer))
    keys.append(manifest["sources"][-1]["key"])
    raw.unlink()
  manifest |= pinned_mixture.pins(str(tmp_path / "cache"), keys, renderer)
  files.write_json(str(tmp_path / "cache/mixtures/k.json"), manifest)
  shutil.move(tmp_path / "cache", tmp_path / "pod")
  return str(tmp_path / "pod/mixtures/k.json")


def sources_of(path, renderer):
  manifest = pinned_mixture.read(path, renderer)
  found = [pinned_mixture.folder_of(path, one["key"]) for one in manifest["sources"]]
  return [tokenised.CachedSource(folder) for folder in found]


def test_no_raw_file_is_needed(pinned, renderer):
  a, b = sources_of(pinned, renderer)
  assert len(a) == len(b) == 3 and "b 2" in renderer.tokenizer.decode(b[2].ids)


def test_another_model_or_rendering_is_refused_by_name(pinned, renderer):
  changed = chat.Renderer(renderer.tokenizer, chat.Rendering(max_length=32))
  with pytest.raises(errors.InputError, match=r"k\.json: source a was rendered with max_length = 64, not 32"):
    pinned_mixture.read(pinned, changed)
  manifest = files.read_object(pinned)
  for key, match in (("tokenizer_sha256", "another tokenizer"), ("chat_template_sha256", "another chat template")):
    other = json.loads(json.dumps(manifest))
    other["sources"][1][key] = "0" * 64
    files.write_json(pinned, other)
    with pytest.raises(errors.InputError, match=f"source b was prepared with {match} "):
      pinned_mixture.read(pinned, renderer)
  files.write_json(pinned, manifest | {"pins": manifest["pins"] | {"rendering": "0"}})
  with pytest.raises(errors.InputError, match="rendered by another version, or for a model of another kind"):
    pinned_mixture.read(pinned, renderer)
  del manifest["pins"]
  files.write_json(pinned, manifest)
  with pytest.raises(errors.InputError, match="without pins: run itune prepare again"):
    pinned_mixture.read(pinned, renderer)
  files.write_json(pinned, {"name": "m"})
  with pytest.raises(errors.InputError, match="is no manifest of a prepared mixture"):
    pinned_mixture.read(pinned, renderer)
  with pytest.raises(errors.InputError, match="mount the bucket"):
    pinned_mixture.read("gs://bucket/mixtures/k.json", renderer)


def test_a_file_that_is_not_what_was_prepared_is_named(pinned, renderer):
  folder = pathlib.Path(pinned_mixture.folder_of(pinned, files.read_object(pinned)["sources"][0]["key"]))
  rows = folder / "rows.arrayrecord"
  whole = rows.read_bytes()
  rows.write_bytes(whole[:-1])
  sizes = f"has {len(whole) - 1:,} bytes, and {len(whole):,} in the manifest"
  with pytest.raises(errors.InputError, match=sizes):
    pinned_mixture.read(pinned, renderer)
  rows.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
  with pytest.raises(errors.InputError, match=r"rows\.arrayrecord has other bytes than the manifest says"):
    pinned_mixture.read(pinned, renderer)
  rows.unlink()
  with pytest.raises(errors.InputError, match=r"rows\.arrayrecord is missing: copy the folder"):
    pinned_mixture.read(pinned, renderer)


def test_files_that_have_not_changed_are_read_once_and_again_on_demand(pinned, renderer, tmp_path, monkeypatch):
  for path in pathlib.Path(pinned).parents[1].rglob("*"):
    os.utime(path, (1e9, 1e9))
  opened, real = [], readers.content
  monkeypatch.setattr(readers, "content", lambda path: opened.append(path) or real(path))
  monkeypatch.setattr(digests, "_verifies", False)
  digests.keep_in(str(tmp_path / "digests"))
  pinned_mixture.read(pinned, renderer)
  count = len(opened)
  pinned_mixture.read(pinned, renderer)
  assert count == len(opened) == sum(map(len, files.read_object(pinned)["pins"]["files"].values())) >= 6
  rows = pathlib.Path(next(name for name in opened if name.endswith("rows.arrayrecord")))
  rows.write_bytes(rows.read_bytes()[::-1])
  os.utime(rows, (1e9, 1e9))
  pinned_mixture.read(pinned, renderer)  # so much size and time cannot tell
  digests.keep_in(str(tmp_path / "digests"), verify=True)
  with pytest.raises(errors.InputError, match="other bytes"):
    pinned_mixture.read(pinned, renderer)


def test_what_asks_for_raw_rows_is_refused():
  mixture = mixture_lib.Mixture(name="m", manifest="k.json")
  assert validation.Validation().trained(mixture) == mixture
  with pytest.raises(errors.InputError, match="VAL_FRACTION holds out rows of raw files"):
    validation.Validation(fraction=0.1).trained(mixture)
  with pytest.raises(errors.InputError, match="MIXING measures rows of raw files"):
    validation.Validation(fraction=0.1).measured(mixture)
  with pytest.raises(errors.InputError, match="stands in place of sources"):
    mixture_lib.Mixture(name="m", manifest="k.json", grain="a:b")
  how = ["--gin_file=recipes/smollm2_lora.gin", "--run_dir=r", "--mixture=k.json"]
  assert train_flags.COMMAND.parse(how).gin_file[-1] == "overlays/pinned.gin"
  with pytest.raises(errors.InputError, match="--mixture is a prepared mixture, --data names files"):
    train_flags.COMMAND.parse([*how, "--data=a.jsonl"])


class Counting(tokenised.CachedSource):
  """Knows which examples were read."""

  def __init__(self, folder):
    super().__init__(folder)
    self.read = []

  def __getitem__(self, index):
    self.read.append(int(index))
    return super().__getitem__(index)


def test_each_process_reads_the_records_of_its_own_rows(pinned, renderer):
  keys = [one["key"] for one in pinned_mixture.read(pinned, renderer)["sources"]]
  packing, seen = feed.Packing(row_length=64, rows=4, window=6), []
  for rows in (range(4), range(2), range(2, 4)):
    sources = {key: Counting(pinned_mixture.folder_of(pinned, key)) for key in keys}
    feed.Feed(sources, dict.fromkeys(keys, 0.5), packing, rows=rows).batch(0)
    seen.append(sorted((key, i) for key, source in sources.items() for i in source.read))
  assert seen[0] == sorted(seen[1] + seen[2]) and seen[1] and seen[2]


def mutants(value):
  """The same with one part left out, or another thing in its place."""
  if isinstance(value, (dict, list)):
    for key in list(value if isinstance(value, dict) else range(len(value))):
      for part in (None, 7, "x", [], {}):
        yield {**value, key: part} if isinstance(value, dict) else [*value[:key], part, *value[key + 1 :]]
      for part in mutants(value[key]):
        yield {**value, key: part} if isinstance(value, dict) else [*value[:key], part, *value[key + 1 :]]
      yield {k: v for k, v in value.items() if k != key} if isinstance(value, dict) else value[:key] + value[key + 1 :]


def test_a_manifest_in_which_anything_stands_is_read_or_refused_in_one_line(pinned, renderer):
  whole = json.loads(pathlib.Path(pinned).read_text())
  refused = 0
  for mutant in mutants({name: whole[name] for name in ("sources", "rates", "pins")}):
    pathlib.Path(pinned).write_text(json.dumps(mutant))
    try:
      pinned_mixture.read(pinned, renderer)
    except errors.InputError as e:
      refused += 1
      assert "\n" not in str(e)
  assert refused > 100
