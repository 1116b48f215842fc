"""Methods that start from data, or from what quantising lost: measured on the mesh, then attached."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import rng
from itune_jax.parallel import shard
from itune_jax.models import load as load_lib
from itune_jax.models import view
from itune_jax.nn import site
from itune_jax.nn import skeleton as skeleton_lib
from itune_jax.peft import attach
from itune_jax.peft import method as method_lib
from itune_jax.peft import probes
from itune_jax.train import step as step_lib


def from_data(session: Any, objective: contracts.Objective, batch: Callable[[int], Any], seed: int, dtype: Any) -> Any:
  """The session with every method that starts from data attached by what the first batches say.

  Args:
    batch: global batch k on the mesh, leaves [M, B, T]. seed, dtype: of the adapters, as at the session's opening.
  """
  before, methods, statistics = session.attached, [], {}
  measured_by = [m.name for m in attach.on_sites(before.methods) if m.statistic in probes.PROBES]
  if measured_by and objective.needs:
    raise errors.InputError(
      f"{', '.join(measured_by)} starts from data, measured by the objective; {type(objective).__name__} asks for "
      "other models too: start from a run of Sft instead"
    )
  for method in before.methods:
    kind = method.statistic if isinstance(method, method_lib.SiteMethod) else ""
    if kind in probes.PROBES:
      with log.timed(f"measured the {kind} of {method.batches} batches for {method.name}"):
        found = statistics[method.name] = _measured(session, method, kind, objective, batch)
      if kind == "moments":
        layers = attach.layers_of(session.base.module, method)
        method = method.calibrated(_spectra(session.mesh, found), layers)
    methods.append(method)
  if not statistics:
    return session
  session = reattached(session, methods, seed, dtype, statistics)
  measured = tuple(f"/adapters/{name}/" for name in statistics)
  others = {n: v for n, v in before.params.items() if not any(part in n for part in measured)}
  return session.with_arrays(others)


def reattached(session: Any, methods: Sequence[Any], seed: int, dtype: Any, statistics: Mapping[str, Any]) -> Any:
  """The session's base with other methods."""
  base, key = session.base, rng.named(rng.root(seed), "peft")
  on = dict(mesh=session.mesh, rules=session.rules, dtype=dtype, statistics=statistics)
  return session.with_attached(attach.attach(base.module, base.params, methods, key, **on))


def _measured(session, method, kind, objective, batch) -> dict[str, dict[str, Any]]:
  probe = probes.Probe(measures=kind, sites=method.sites)
  base = session.base
  probed = attach.attach(base.module, base.params, (probe,), rng.root(0), mesh=session.mesh, rules=session.rules)
  bind = view.Binder.of(probed.module, session.mesh, session.rules, session.binder.compute)
  observed = {n: probed.params[n] for n in sorted(probed.trainable)}
  frozen = {n: v for n, v in probed.params.items() if n not in probed.trainable}

  @jax.jit  # the base is an argument: closed over, it would be part of the program
  def run(observed, frozen, batch):
    return step_lib.gradients(bind, objective, observed, frozen, batch, rng.root(0))[1]

  total = run(observed, frozen, batch(0))
  for k in range(1, method.batches):
    total = jax.tree.map(jnp.add, total, run(observed, frozen, batch(k)))
  return probes.collected(total, probe.name)


def _spectra(mesh, moments: dict[str, dict[str, Any]]) -> dict[str, np.ndarray]:
  """Eigenvalues [*lead, in], falling, of the inputs' covariance at every site, in every process."""

  def values(statistic):
    one = lambda statistic: probes.spectrum(statistic)[0]
    for _ in range(statistic["count"].ndim):
      one = jax.vmap(one)
    return one(statistic)

  run = jax.jit(lambda found: {path: values(one) for path, one in found.items()}, out_shardings=shard.replicated(mesh))
  return jax.device_get(run(moments))


def residuals(
  base: load_lib.Base, methods: Sequence[Any], reload: Callable[[], load_lib.Base]
) -> dict[str, dict[str, Any]]:
  """W - Q by method and site, for methods that start from what quantising the base lost.

  Args:
    reload: gives the base again, not quantised.

  Raises:
    InputError when a site is not quantised.
  """
  methods = [m for m in attach.on_sites(methods) if m.statistic == "residual"]
  layers = {m.name: tuple(attach.layers_of(base.module, m)) for m in methods}
  for name, paths in layers.items():
    whole = [path for path in paths if f"{path}/kernel" in base.params]
    if whole:
      raise errors.InputError(f"{name} starts from what quantising lost, but {whole[0]} is not quantised (Model.quant)")
  exact = reload().params if methods else {}
  return {
    name: {path: {"kernel": _residual(base, path, exact[f"{path}/kernel"])} for path in paths}
    for name, paths in layers.items()
  }


def _residual(base, path, exact):
  node = skeleton_lib.sites(base.module)[path]
  skeleton, _ = skeleton_lib.disassemble(node)
  arrays = {name: base.params[f"{path}/{name}"] for name in skeleton.names}
  read = lambda arrays: site.read_kernel(skeleton.build(arrays).kernel, jnp.float32)
  for _ in skeleton_lib.lead(path, base.cfg.stacks):
    read = jax.vmap(read)
  return jax.jit(lambda exact, arrays: exact.astype(jnp.float32) - read(arrays))(exact, arrays)
