"""A checkpoint knows how its model was packed and its conversations rendered; another choice needs a flag."""

import dataclasses
import types

import pytest

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.data.render import chat
from itune_jax.nn import quant
from itune_jax.run import adapters
from itune_jax.run import specs

MODEL = specs.Model(base="b", quant=quant.Quant(kind="nf4"), special_tokens=("<a>",))
RENDERING = chat.Rendering(max_length=99, template_kwargs={"thinking": True})


@pytest.fixture
def run(tmp_path):
  """A run directory with a checkpoint that says what it was trained with."""
  said = adapters.identity(MODEL, types.SimpleNamespace(digest="d", uri="u"), (), RENDERING)
  files.write_json(str(tmp_path / "checkpoints" / "000004" / "meta.json"), said)
  files.write_text(str(tmp_path / "checkpoints" / "000004" / "COMMITTED"), "")
  return str(tmp_path)


def test_what_the_user_leaves_out_is_as_in_training(run):
  assert adapters.as_trained(specs.Model(), chat.Rendering(), run) == (MODEL, RENDERING)
  assert adapters.as_trained(MODEL, RENDERING, run) == (MODEL, RENDERING)
  other_cut = dataclasses.replace(RENDERING, max_length=7)  # prompts are not cut by it
  assert adapters.as_trained(MODEL, other_cut, run) == (MODEL, other_cut)
  assert adapters.as_trained(specs.Model(), RENDERING, "") == (specs.Model(), RENDERING)


def test_a_base_that_is_named_is_packed_as_in_training(run, capsys):
  """`--base` says where the base is; what else the checkpoint knows of it stays, unless it is asked for otherwise."""
  moved = specs.Model(base="elsewhere")
  assert adapters.as_trained(moved, RENDERING, run)[0] == dataclasses.replace(MODEL, base="elsewhere")
  assert adapters.model_behind(moved, run, base="third") == dataclasses.replace(MODEL, base="third")
  assert adapters.as_trained(moved, RENDERING, run, as_asked=True)[0] == moved
  assert "Model.quant = Quant(" in capsys.readouterr().err
  adapters.say_packing(run, MODEL)
  assert not capsys.readouterr().err
  adapters.say_packing(run, moved)
  assert "was packed (nf4), that of this run is not packed" in capsys.readouterr().err


@pytest.mark.parametrize(
  "model,rendering,said",
  [
    ({"quant": None}, {}, r"Model.quant = Quant\(.*\) there, None here"),
    ({"chat_template": "chatml"}, {}, "Model.chat_template = '' there, 'chatml' here"),
    ({"special_tokens": ()}, {}, "Model.special_tokens"),
    ({}, {"template_kwargs": {}}, "Rendering.template_kwargs = {'thinking': True} there, {} here"),
    ({}, {"date": "2024-01-01"}, "Rendering.date"),
  ],
)
def test_another_choice_is_refused_or_printed(run, model, rendering, said, capsys):
  asked = dataclasses.replace(MODEL, **model), dataclasses.replace(RENDERING, **rendering)
  with pytest.raises(errors.InputError, match=f"was trained otherwise: {said}"):
    adapters.as_trained(*asked, run)
  assert adapters.as_trained(*asked, run, as_asked=True) == asked
  assert "not as" in capsys.readouterr().err
