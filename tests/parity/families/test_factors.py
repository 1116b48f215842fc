"""Combining by factors against peft's add_weighted_adapter, live."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

import jax.numpy as jnp  # noqa: E402

from itune_jax.core import errors  # noqa: E402
from itune_jax.core import rng  # noqa: E402
from itune_jax.models.hf import layout as layout_lib  # noqa: E402
from itune_jax.peft import attach  # noqa: E402
from itune_jax.peft.folders import exchange  # noqa: E402
from itune_jax.peft.combine import factors  # noqa: E402
from itune_jax.peft.methods import ia3  # noqa: E402
from tests import tiny  # noqa: E402
from tests.models import families  # noqa: E402
from tests.parity.families import common  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
AUTO = transformers.AutoModelForCausalLM


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
  """Two adapters of different scales in one peft model, and the same in ours."""
  folder = tmp_path_factory.mktemp("factors")
  theirs = common.make_theirs(families.CASES["llama"], AUTO)
  theirs.save_pretrained(folder / "hf")
  model = None
  for name, alpha in (("one", 8), ("two", 3)):
    config = peft.LoraConfig(r=4, lora_alpha=alpha, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    if model is None:
      model = peft.get_peft_model(theirs, config, adapter_name=name)
    else:
      model.add_adapter(name, config)
  model.save_pretrained(str(folder))
  ours = common.open_ours(folder / "hf")
  layout, found = layout_lib.Layout.of(ours.cfg), []
  for name in ("one", "two"):
    methods, values = exchange.load(str(folder / name), ours.module, layout)
    attached = attach.attach(ours.module, ours.params, methods, rng.root(0), mesh=tiny.mesh(1))
    params = {**attached.params, **{n: jnp.asarray(v) for n, v in exchange.fill(attached, values).items()}}
    found.append(attach.Attached(attached.module, params, attached.trainable, attached.methods))
  return model.eval(), ours, found


@pytest.mark.parametrize("how", factors.WAYS)
@pytest.mark.parametrize("weights", [(0.7, 0.3), (1.0, -0.5)], ids=str)
def test_factors_as_peft(pair, how, weights):
  model, ours, adapters = pair
  name = f"{how}_{weights}".replace(".", "_")
  model.add_weighted_adapter(["one", "two"], list(weights), name, combination_type=how, density=0.5)
  model.set_adapter(name)
  ids = np.random.RandomState(0).randint(3, ours.cfg.vocab, (2, 24)).astype(np.int32)
  with torch.no_grad():
    expected = model(torch.tensor(ids, dtype=torch.long)).logits.numpy()
  both = factors.Combine(how=how, weights=weights, density=0.5)(adapters)
  found = np.asarray(tiny.logits(both, common.rows_of(ids)))
  assert np.abs(found - np.asarray(tiny.logits(ours, common.rows_of(ids)))).max() > 0.01 * np.ptp(found)
  assert common.relative(found, expected) < 1e-5


def test_what_has_no_factors_is_refused_by_name(pair):
  _, ours, adapters = pair
  other = tiny.attach(ours, ia3.Ia3())
  with pytest.raises(errors.InputError, match="only plain LoRAs have factors to combine, this is Ia3"):
    factors.Combine()([adapters[0], other])
  with pytest.raises(errors.InputError, match="factors are combined by linear, ties, magnitude_prune"):
    factors.Combine(how="slerp")
