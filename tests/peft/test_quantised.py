"""Methods that start from the base's weights, on a base whose weights are packed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import axes
from itune_jax.models import load
from itune_jax.nn import quant
from itune_jax.nn import site
from itune_jax.nn import skeleton
from itune_jax.peft.methods import delora
from itune_jax.peft.methods import lora
from tests import tiny

BATCH = tiny.packed(tiny.examples(3), 16, 1)
METHODS = {
  "dora": lora.Lora(rank=2, dora=True),
  "some dora": lora.Lora(rank=2, dora=True, sites=r"blocks/1/(attn/o|mlp/up)"),
  "pissa": lora.Lora(rank=2, init="pissa"),
  "olora": lora.Lora(rank=2, init="olora"),
  "delora": delora.Delora(rank=2),
}


@pytest.fixture(scope="module", params=list(quant.KINDS))
def bases(request, tmp_path_factory):
  """A packed base, and the same weights as plain arrays."""
  folder, here = str(tmp_path_factory.mktemp("m")), tiny.mesh(1)
  base = tiny.base(here)
  load.save_hf(folder, base.module, base.params)
  how = dict(mesh=here, rules=axes.DEFAULT_RULES)
  packed, plain = load.load(folder, **how, quantised=quant.Quant(kind=request.param)), load.load(folder, **how)
  for path, node in skeleton.sites(packed.module).items():
    if isinstance(node, site.Proj) and f"{path}/kernel/codes" in packed.params:
      live, _ = skeleton.disassemble(node.kernel)
      read = lambda arrays, live=live: site.read_kernel(live.build(arrays), jnp.float32)
      arrays = {name: packed.params[f"{path}/kernel/{name}"] for name in live.names}
      plain.params[f"{path}/kernel"] = jax.vmap(read)(arrays)
  return packed, plain


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.by_default(2, heavy=4)
def test_an_adapter_is_that_of_the_unpacked_weights(bases, name):
  packed, plain = (tiny.attach(base, METHODS[name]) for base in bases)
  np.testing.assert_allclose(tiny.logits(packed, BATCH), tiny.logits(bases[0], BATCH), atol=1e-5)
  adapters = [n for n in packed.params if "/adapters/" in n]
  for path in adapters:
    np.testing.assert_allclose(packed.params[path], plain.params[path], atol=1e-5, err_msg=path)
  packed = tiny.randomise(packed)
  plain.params.update({n: packed.params[n] for n in adapters})
  np.testing.assert_allclose(tiny.logits(packed, BATCH), tiny.logits(plain, BATCH), atol=1e-4)
