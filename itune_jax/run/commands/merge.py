"""`itune merge`: adapters folded into their base in float32, or several into one adapter.

Several are combined by what they do to the weights (`peft.arithmetic`); as a LoRA, of a stated rank and with what is
lost, or as a whole model.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.data.render import chat
from itune_jax.peft import attach
from itune_jax.peft.combine import arithmetic
from itune_jax.peft.combine import factors
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import command
from itune_jax.run import gin_setup
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.run.commands import export


def merge(
  *,
  model: specs.Model,
  rendering: chat.Rendering,
  adapters: tuple[str, ...] = (),
  combine: arithmetic.Combine | factors.Combine = arithmetic.Combine(),
  format: str = "hf",
  rank: int = 0,
  dtype: str = "float32",
  out: str = "",
  dequantise: bool = False,
  base: str = "",
  naming: export.Naming = export.Naming(),
  overwrite: bool = False,
) -> dict[str, Any]:
  """Writes a folder; returns its manifest, with `residual` where a LoRA was made.

  Raises InputError when adapters belong to different bases, or are not linear in their input.

  model: the base; adapters name their own. rendering: goes into the exported tokenizer's template. adapters: run
  directories, checkpoints or PEFT folders. combine: how several become one. format: "hf" (merged into the base) or
  "lora". rank: of that LoRA. dtype: of the weights written. out: the folder. dequantise: allows merging into the full
  weights of a quantised base. base: where their base is, when it is not where it was. naming: what a PEFT folder
  says of its base. overwrite: replaces an earlier export.
  """
  export.check_out(out, overwrite, adapters)
  if len(adapters) == 1 and format == "hf" and combine == arithmetic.Combine():
    given: dict[str, Any] = dict(
      adapter=adapters[0], format="hf", dtype=dtype, out=out, dequantise=dequantise, base=base, overwrite=overwrite
    )
    return export.export(model=model, rendering=rendering, **given)
  by_factors = isinstance(combine, factors.Combine)
  check.require(format == "hf" or rank > 0 or by_factors, "a LoRA of which rank? give --rank")
  models = [(adapter, adapters_lib.model_behind(model, adapter, base)) for adapter in adapters]
  export.check_out(out, overwrite, [one.base for _, one in models])
  session, updates, merged = _opened(models, by_factors, dequantise)
  update = combine(updates)
  facts = {"adapters": list(adapters), "combine": dataclasses.asdict(combine), "factors": by_factors}
  how: dict[str, Any] = dict(dtype=dtype, out=out, naming=naming, overwrite=overwrite)
  facts |= {"merged": merged} if format == "hf" else {}
  if isinstance(update, attach.Attached):
    kind = "hf" if format == "hf" else "peft"
    return export.amend(out, export.write(session.with_attached(update), rendering, format=kind, **how), facts)
  of = session.base
  if format == "hf":
    params = {**of.params, **{n: of.params[n] + value for n, value in update.items()}}
    whole = attach.Attached(of.module, params, frozenset(), ())
    manifest = export.write(session.with_attached(whole), rendering, format="hf", **how)
    return export.amend(out, manifest, facts)
  lora, residual = arithmetic.factorise(of.module, of.params, update, rank, mesh=session.mesh, rules=session.rules)
  log.info(f"LoRA of rank {rank}: {residual:.2%} of the update's length is lost")
  manifest = export.write(session.with_attached(lora), rendering, format="peft", **how)
  return export.amend(out, manifest, {**facts, "residual": residual, "rank": rank})


def _opened(
  models: Sequence[tuple[str, specs.Model]], by_factors: bool, dequantise: bool
) -> tuple[session_lib.Session, list[Any], list[str]]:
  """The model with the last of the adapters, what each adapter adds (factors, or a change of every weight), and the
  kinds of their methods."""
  packed = [adapter for adapter, one in models if one.quant is not None]
  check.require(
    not packed or dequantise, f"the base of {', '.join(packed)} was quantised in training: give --dequantise"
  )
  updates, digests, merged, session = [], set(), [], None
  for adapter, model in models:
    session = session_lib.open_session(dataclasses.replace(model, quant=None), adapter=adapter)
    with log.timed(f"what {adapter} does to the weights"):
      updates.append(session.attached if by_factors else arithmetic.update_of(session.attached, session.base.params))
    digests.add(session.base.digest)
    merged += [type(method).__name__ for method in session.attached.methods]
  if session is None or len(digests) > 1:
    raise errors.InputError(
      f"adapters of {len(digests)} different bases cannot be combined: {', '.join(a for a, _ in models)}"
    )
  return session, updates, merged


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns what was written, how near its logits are, and what a LoRA lost."""
  manifest = gin_setup.call(
    merge,
    adapters=tuple(args.adapter),
    combine=_combine(args),
    format=args.format,
    rank=args.rank,
    dtype=args.dtype,
    out=args.out,
    dequantise=args.dequantise,
    base=args.base,
    naming=export.Naming.of(args),
    overwrite=args.overwrite,
  )
  keys = ("merged", "logit_parity", "residual", "rank")
  return {"out": args.out, **{key: manifest[key] for key in keys if key in manifest}}


def _combine(args: command.Args) -> arithmetic.Combine | factors.Combine:
  weights = tuple(args.weight)
  if args.factors:
    return factors.Combine(weights=weights, how=args.how, density=args.density)
  return arithmetic.Combine(weights=weights, how=args.how, density=args.density, scale=args.scale, seed=args.seed)
