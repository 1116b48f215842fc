"""A head that scores text in place of the vocabulary's, on any decoder: what a reward model is."""

import dataclasses

import jax
import jax.numpy as jnp

from itune_jax.core import errors
from itune_jax.models import decoder
from itune_jax.models import load
from itune_jax.models.hf import config as config_lib
from itune_jax.nn import quant


def scoring(
  base: load.Base, outputs: int, dtypes: load.Dtypes = load.all_float32, quantised: quant.Quant | None = None
) -> load.Base:
  """A base with a head of so many outputs in place of the vocabulary's, for reward models. The head starts as zeros:
  every score is 0, the first loss of a pair log 2. Its files, and so its digest, are the same.

  Args:
    dtypes: of the new kernel. quantised: how the base's kernels are packed.

  Raises:
    InputError for a base that is no decoder of text, and for one with a head of other outputs.
  """
  if not isinstance(base.cfg, decoder.DecoderConfig) or base.cfg.prefix_lm:
    raise errors.InputError(f"{base.uri}: a head that scores sits on a decoder of text; this is {base.cfg.family}")
  if base.cfg.scores:
    if base.cfg.scores != outputs:
      raise errors.InputError(f"{base.uri}: its head has {base.cfg.scores} outputs, and Model.scores is {outputs}")
    return base
  module = load.skeleton(dataclasses.replace(base.cfg, scores=outputs, tied=False), base.module.remat)
  module = module if quantised is None else load.quantised_skeleton(module, quantised)
  params = {name: value for name, value in base.params.items() if not name.startswith("head/")}
  mesh = next(iter(params.values())).sharding.mesh
  where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  dtype = dtypes([*params, "head/kernel"])["head/kernel"]
  head = jax.jit(lambda: jnp.zeros((base.cfg.width, outputs), dtype), out_shardings=where)()
  config = base.config_json and config_lib.scoring(base.config_json, outputs)
  return dataclasses.replace(base, module=module, params={**params, "head/kernel": head}, config_json=config)
