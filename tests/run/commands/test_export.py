"""Exports of a tiny model: what they say of their base, what they keep of it, and that nothing unaccepted stays."""

import json
import os
import shutil

import numpy as np
import pytest

from itune_jax import api
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.peft.methods import lora
from itune_jax.run import adapters
from itune_jax.run import loading
from itune_jax.run import specs
from itune_jax.run.commands import export
from itune_jax.run.commands import merge
from itune_jax.run.commands import reread
from tests.models import folders

IDS = np.array([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A base with its own ends of texts, and a LoRA on it as a checkpoint and as a PEFT folder."""
  at = tmp_path_factory.mktemp("export")
  base = folders.write("llama", at / "base")
  folders.write_tokenizer(base)
  files.write_json(str(base / "generation_config.json"), {"eos_token_id": [9, 0], "temperature": 0.6})
  model = moved(api.load(str(base)).attach(lora.Lora(rank=2, sites=r"blocks/\d+/attn/q")))
  model.save(str(at / "saved"))
  api.export_peft(model, str(at / "peft"))
  return at, model


def moved(model):
  return api.Model(model.session.with_arrays({n: v + 0.1 for n, v in model.session.trainable.items()}))


def config_of(folder):
  return files.read_json(os.path.join(folder, "adapter_config.json"))


def test_what_the_base_says_of_texts_is_kept_and_stops(place, tmp_path):
  _, model = place
  assert model.session.base.ends == (9, 0, 2)
  assert {9, 0, 2} <= set(model.session.renderer(export.chat.Rendering()).turn_end.ids)
  assert model.session.engine().stop_ids[:3] == (9, 0, 2)
  export.save_model(model.session, model.session.base.params, "float32", str(tmp_path / "out"))
  generation = files.read_json(str(tmp_path / "out" / "generation_config.json"))
  assert generation["eos_token_id"] == [9, 0, 2] and generation["temperature"] == 0.6
  config = files.read_json(str(tmp_path / "out" / "config.json"))
  assert config["eos_token_id"] == [9, 0, 2] and config["rope_theta"] == model.session.base.config_json["rope_theta"]


def test_a_folder_is_written_with_the_users_permissions_and_says_what_read_it_again(place):
  at, _ = place
  manifest = files.read_json(str(at / "peft" / "export_manifest.json"))
  assert manifest["read_again_by"] == "peft's formulas" and manifest["logit_parity"] < 1e-5
  mask = os.umask(0)
  os.umask(mask)
  assert (at / "peft" / "adapter_model.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_is_not_accepted_leaves_nothing(place, tmp_path, monkeypatch):
  _, model = place
  other = lambda folder, base, sharding: (base.module, {n: v * 1.5 for n, v in base.params.items()})
  monkeypatch.setattr(reread, "adapter", other)
  with pytest.raises(errors.RunError, match="the logits of the export differ .* nothing was left there"):
    api.export_peft(model, str(tmp_path / "out"))
  assert not os.listdir(tmp_path)


def test_what_an_export_is_made_of_is_never_replaced(tmp_path):
  """An earlier export may be replaced, and not where it, or what lies in it, is the adapter or the base."""
  made = tmp_path / "runs" / "peft"
  files.write_json(str(made / "export_manifest.json"), {})
  files.write_json(str(tmp_path / "runs" / "export_manifest.json"), {})
  (tmp_path / "link").symlink_to(made)
  export.check_out(str(made), True, ("smollm2-135m-instruct", "", str(tmp_path / "elsewhere"), "gs://a/b"))
  for out in (made, tmp_path / "runs", tmp_path / "link"):
    with pytest.raises(errors.InputError, match="which this is made of: give another folder"):
      export.check_out(str(out), True, (str(made),))


@pytest.mark.heavy
def test_an_adapter_of_another_family_is_of_another_base(place, tmp_path):
  at, _ = place
  other = folders.write("gpt2", tmp_path / "gpt2")
  folders.write_tokenizer(other)
  with pytest.raises(errors.InputError, match="trained on another base"):
    api.load(str(at / "saved"), base=str(other))


def test_a_disk_without_room_is_told_before_the_work(place, tmp_path, monkeypatch):
  _, model = place
  monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 0))
  with pytest.raises(errors.RunError, match="MiB are needed, and 0 MiB are free"):
    export.save_model(model.session, model.session.base.params, "float32", str(tmp_path / "out"))
  assert not os.listdir(tmp_path)


def test_a_base_is_called_as_the_user_says(place, tmp_path, capsys):
  at, model = place
  assert config_of(at / "peft")["base_model_name_or_path"] == str(at / "base")
  export.write(
    model.session, export.chat.Rendering(), format="peft", dtype="float32", out=str(tmp_path / "a"),
    naming=export.Naming("org/name"),
  )  # fmt: skip
  assert config_of(tmp_path / "a")["base_model_name_or_path"] == "org/name"


@pytest.mark.parametrize(
  "uri,asked,naming,along,known",
  [
    ("/x/models--org--name/snapshots/12ab", "org/name", export.Naming(), True, "org/name"),
    ("/x/base.gguf", "base.gguf", export.Naming(), True, None),
    ("/x/base.gguf", "base.gguf", export.Naming(without_base=True), False, None),
    ("/x/base.gguf", "base.gguf", export.Naming("org/name"), False, None),
  ],
)
def test_names_of_bases(place, uri, asked, naming, along, known):
  base = export.dataclasses.replace(place[1].session.base, uri=uri)
  session = export.dataclasses.replace(place[1].session, base=base, model=specs.Model(base=asked))
  assert naming.goes_along(uri, False) is along and naming.known(session) == known
  with pytest.raises(errors.InputError, match="its folder must go along"):
    export.Naming(without_base=True).goes_along(uri, True)


def test_a_folder_that_names_no_base_or_one_that_moved(place, tmp_path):
  at, _ = place
  shutil.copytree(at / "peft", tmp_path / "peft")
  path = str(tmp_path / "peft" / "adapter_config.json")
  found = files.read_json(path)
  for value, words in (
    ({"base_model_name_or_path": None}, "base_model_name_or_path is None: say which base it belongs to"),
    ({"base_model_name_or_path": ""}, "base_model_name_or_path is '': say which base"),
    ({"base_model_name_or_path": "/not/here"}, "its base /not/here is not there: say where it is now"),
    ({"base_model_name_or_path": "a/b", "revision": "v2"}, "revision 'v2' of a/b: fetch it yourself"),
  ):
    files.write_json(path, {**found, **value})
    with pytest.raises(errors.InputError, match=words):
      adapters.model_behind(specs.Model(), str(tmp_path / "peft"))
    assert adapters.model_behind(specs.Model(), str(tmp_path / "peft"), "here") == specs.Model(base="here")
  files.write_json(path, {**found, "base_model_name_or_path": "/gone/peft/base"})
  os.mkdir(tmp_path / "peft" / "base")
  assert adapters.base_of(str(tmp_path / "peft")) == str(tmp_path / "peft" / "base")
  assert adapters.model_behind(specs.Model(), str(at / "saved"), "here").base == "here"


def test_another_base_of_the_same_shapes_is_another_base(place, tmp_path):
  at, model = place
  shutil.copytree(at / "base", tmp_path / "tuned")
  tensors = folders.safetensors.numpy.load_file(at / "base" / "model.safetensors")
  tuned = {name: value * np.float32(1.3) + np.float32(0.01) for name, value in tensors.items()}
  folders.safetensors.numpy.save_file(tuned, tmp_path / "tuned" / "model.safetensors")
  with pytest.raises(errors.InputError, match="was trained on another base model"):
    api.load(str(at / "saved"), base=str(tmp_path / "tuned"))
  with pytest.raises(errors.InputError, match="was exported for another base model"):
    api.load(str(at / "peft"), base=str(tmp_path / "tuned"))
  shutil.copytree(at / "base", tmp_path / "moved")
  again = api.load(str(at / "saved"), base=str(tmp_path / "moved"))
  np.testing.assert_array_equal(again.logits(IDS), model.logits(IDS))


def test_every_adapter_of_a_merge_is_asked_for_its_base_and_packing(place, tmp_path):
  at, _ = place
  shutil.copytree(at / "saved", tmp_path / "packed")
  meta = files.read_json(str(tmp_path / "packed" / "meta.json"))
  meta["model"]["quant"] = {"kind": "nf4", "sites": "x"}
  files.write_json(str(tmp_path / "packed" / "meta.json"), meta)
  two = (str(at / "saved"), str(tmp_path / "packed"))
  with pytest.raises(errors.InputError, match=f"the base of {tmp_path}/packed was quantised in training"):
    merge.merge(model=specs.Model(), rendering=export.chat.Rendering(), adapters=two, out=str(tmp_path / "out"))


def test_a_checkpoint_that_says_nothing_is_one_line(place, tmp_path):
  at, _ = place
  shutil.copytree(at / "saved", tmp_path / "saved")
  for content in ("{}", "[]", '{"base": "b", "base_digest": "d", "model": {"what": 1}, "methods": []}', "{"):
    (tmp_path / "saved" / "meta.json").write_text(content)
    with pytest.raises(errors.InputError) as caught:
      api.load(str(tmp_path / "saved"))
    assert "\n" not in str(caught.value)


def test_logits_need_no_tokenizer(place, tmp_path):
  at, model = place
  shutil.copytree(at / "base", tmp_path / "bare", ignore=shutil.ignore_patterns("*token*", "*.jinja"))
  bare = api.load(str(tmp_path / "bare"))
  assert isinstance(bare.session.tokenizer, loading.NoTokenizer)
  assert bare.logits(IDS).shape == (1, 4, 96)
  with pytest.raises(errors.InputError, match="no tokenizer there, which text needs"):
    bare.generate("Hi")
  with pytest.raises(errors.InputError, match="no tokenizer there"):
    bare.loglikelihood([("a", "b")])


def test_a_head_of_its_own_on_a_tied_base_goes_through_all_doors(place, tmp_path):
  at, _ = place
  shutil.copytree(at / "peft", tmp_path / "peft")
  path = tmp_path / "peft" / "adapter_model.safetensors"
  tensors = folders.safetensors.numpy.load_file(path)
  head = np.random.RandomState(0).randn(96, 32).astype(np.float32)
  folders.safetensors.numpy.save_file({**tensors, "base_model.model.lm_head.weight": head}, path)
  config = tmp_path / "peft" / "adapter_config.json"
  config.write_text(json.dumps({**json.loads(config.read_text()), "modules_to_save": ["lm_head"]}))
  model = api.load(str(tmp_path / "peft"))
  base = api.load(str(at / "peft"))
  assert not model.session.base.cfg.tied and np.abs(model.logits(IDS) - base.logits(IDS)).max() > 0.1
  with pytest.raises(errors.InputError, match="have parted: write it by api.export_peft"):
    model.save(str(tmp_path / "saved"))
  assert api.export_hf(model, str(tmp_path / "hf"))["logit_parity"] < 1e-5
  assert files.read_json(str(tmp_path / "hf" / "config.json"))["tie_word_embeddings"] is False
  np.testing.assert_allclose(api.load(str(tmp_path / "hf")).logits(IDS), model.logits(IDS), rtol=1e-4, atol=1e-4)
  assert api.export_peft(model, str(tmp_path / "again"))["logit_parity"] < 1e-5
  np.testing.assert_array_equal(api.load(str(tmp_path / "again")).logits(IDS), model.logits(IDS))


def test_a_model_that_several_adapters_made_names_their_methods(place, tmp_path):
  at, model = place
  two = (str(at / "saved"), str(at / "saved"))
  given = dict(model=specs.Model(), rendering=export.chat.Rendering(), adapters=two, out=str(tmp_path / "out"))
  manifest = merge.merge(**given)
  assert (
    manifest["merged"] == ["Lora", "Lora"] and files.read_json(str(tmp_path / "out" / "export_manifest.json"))["merged"]
  )
  with pytest.raises(errors.InputError, match="holds an earlier export: give --overwrite"):
    merge.merge(**given)
