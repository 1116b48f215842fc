"""`itune export`: a Hugging Face model folder (adapter merged in) or a PEFT adapter folder, with a manifest.

An export is read again by other code (`reread`) and its logits compared with the model that was exported; the figure
stands in export_manifest.json beside the chat template and the base's identity. What is not accepted leaves nothing.
"""

import dataclasses
import math
import os
import re
import shutil
import types
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.core import rng
from itune_jax.data.render import chat
from itune_jax.data.render import images as images_lib
from itune_jax.models.hf import layout
from itune_jax.models import load as load_lib
from itune_jax.models import view
from itune_jax.peft import attach
from itune_jax.peft.folders import exchange
from itune_jax.peft.methods import tokens as tokens_lib
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run import loading
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.run.commands import reread

# Relative to the range of the logits, in float32. bfloat16 weights are compared and recorded, not judged.
PARITY = 1e-3
_PROBE = "Parity is measured, not assumed: 1, 2, 3; ein zwei drei."


@dataclasses.dataclass(frozen=True)
class Naming:
  """What a PEFT folder says of its base.

  name: what it calls it, such as a name on the hub; "" for where it was loaded from. without_base: whether no folder
  of the base goes along where peft has none.
  """

  name: str = ""
  without_base: bool = False

  @classmethod
  def of(cls, args: command.Args) -> "Naming":
    """By the flags of `base_flags`."""
    return cls(args.base_name, args.without_base)

  def goes_along(self, uri: str, has_more_rows: bool) -> bool:
    """Whether the base is written too. Raises InputError when it must be and the user does not want it."""
    if has_more_rows:
      check.require(not self.without_base, "new tokens stand behind the base's vocabulary: its folder must go along")
      return True
    return not self.without_base and not self.name and (uri.endswith(".gguf") or not os.path.isdir(uri))

  def known(self, session: session_lib.Session) -> str | None:
    """The base's name on the hub where it has one, or the folder where it is; None for what peft cannot open."""
    uri, asked = session.base.uri, session.model.base
    if match := re.search(r"/models--([^/]+)--([^/]+)/snapshots/[^/]+/?$", uri):
      return f"{match[1]}/{match[2]}"
    if not os.path.isdir(uri):
      return None
    if not os.path.exists(asked):
      return asked
    log.info(f"base_model_name_or_path will be {uri}, a folder of this machine; --base_name says another")
    return uri


def export(
  *,
  model: specs.Model,
  rendering: chat.Rendering,
  adapter: str = "",
  format: str = "hf",
  dtype: str = "float32",
  out: str = "",
  dequantise: bool = False,
  base: str = "",
  naming: Naming = Naming(),
  overwrite: bool = False,
) -> dict[str, Any]:
  """Writes the folder; returns its manifest. Raises RunError when the logits of the export differ.

  An adapter that was trained on a quantised base is merged into the full one only if `dequantise` says so: the
  result is not quite the model that was trained.

  model: the base; an adapter names its own. rendering: goes into the exported tokenizer's template. adapter: what is
  merged or written, "" for the base alone. format: "hf" (merged) or "peft". dtype: of the weights written. out: the
  folder. base: where the adapter's base is, when it is not where it was. dequantise: allows merging into the full
  weights of a quantised base. naming: what a PEFT folder says of its base. overwrite: replaces an earlier export.
  """
  check_out(out, overwrite, (adapter,))
  model = adapters_lib.model_behind(model, adapter, base)
  check_out(out, overwrite, (model.base,))
  if model.quant is not None and format == "hf":
    if not dequantise:
      raise errors.InputError("the base was quantised in training: give --dequantise to merge into the full weights")
    model = dataclasses.replace(model, quant=None)
  session = session_lib.open_session(model, adapter=adapter)
  facts = {"adapter": files.absolute(adapter)} if adapter else {}
  return write(session, rendering, format=format, dtype=dtype, out=out, naming=naming, overwrite=overwrite, facts=facts)


def check_out(out: str, overwrite: bool, sources: Sequence[str] = ()) -> None:
  """Raises InputError for no folder, and for one in use: one that is no earlier export is never replaced, nor one that
  is, or holds, one of the folders that the export is made of."""
  check.require(out, "an export goes into a new folder: give --out")
  check.require(not files.is_file(out), f"--out={out} is a file: give a new folder")
  for source in sources:
    mine, theirs = os.path.realpath(out), os.path.realpath(source)
    is_of = os.path.exists(source) and os.path.commonpath([mine, theirs]) == mine
    check.require(not is_of, f"--out={out} is, or holds, {source}, which this is made of: give another folder")
  if not files.names(out):
    return
  earlier = files.exists(os.path.join(out, "export_manifest.json"))
  check.require(earlier, f"--out={out} exists and is no earlier export; give a new folder")
  check.require(overwrite, f"--out={out} holds an earlier export: give --overwrite to replace it, or a new folder")


def write(
  session: session_lib.Session,
  rendering: chat.Rendering,
  *,
  format: str,
  dtype: str,
  out: str,
  naming: Naming = Naming(),
  overwrite: bool = False,
  facts: Mapping[str, Any] = types.MappingProxyType({}),
) -> dict[str, Any]:
  """Exports a loaded model; returns the manifest. The folder is there when its logits were accepted, or not at all.

  facts: what the manifest says beside, such as which adapter it was made of.

  Raises InputError for a folder in use, RunError as `export` does.
  """
  session.require_one("an export")
  check_out(out, overwrite)
  with files.whole_folder(out) as partial:
    if format == "peft":
      parity, extra = _write_peft(session, partial, out, naming)
    else:
      parity, extra = _write_hf(session, dtype, partial)
    if not parity <= (PARITY if dtype == "float32" else math.inf):
      raise errors.RunError(
        f"{out}: the logits of the export differ from the model's by {parity:.2e} of their range (limit {PARITY:.0e}); "
        "nothing was left there"
      )
    template = None if isinstance(session.tokenizer, loading.NoTokenizer) else session.tokenizer.chat_template
    manifest = {
      "format": format,
      "dtype": dtype,
      "logit_parity": parity,
      "probe": _PROBE,
      "base": session.base.uri,
      "base_digest": session.base.digest,
      "quant": session.model.quant and dataclasses.asdict(session.model.quant),
      "chat_template": template,
      "template_date": rendering.date,
      **facts,
      **extra,
    }
    files.write_json(os.path.join(partial, "export_manifest.json"), manifest)
  return manifest


def amend(out: str, manifest: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
  """The manifest of a folder with more facts, on disk too."""
  files.write_json(os.path.join(out, "export_manifest.json"), manifest | facts)
  return manifest | facts


def _write_peft(session, partial: str, out: str, naming: Naming):
  extra: dict[str, Any] = {}
  params = _with_rows(session)
  along = naming.goes_along(session.base.uri, params is not session.base.params)
  # peft cannot load a GGUF file, nor find rows that the base lacks: a float32 folder goes along and is pointed at.
  base = naming.name or (files.absolute(os.path.join(out, "base")) if along else naming.known(session))
  exchange.save(partial, session.attached, layout.Layout.of(session.base.cfg), base=base)
  if along:
    extra["base_model"] = base
    save_model(session, params, "float32", os.path.join(partial, "base"))
    extra["base_digests"] = [session.base.digest, load_lib.open_source(os.path.join(partial, "base")).digest()]
  if not isinstance(session.tokenizer, loading.NoTokenizer):
    session.tokenizer.save_pretrained(partial)
  found, extra["read_again_by"] = adapter_logits(session, partial)
  return _compare(session, found), extra


def _with_rows(session) -> dict[str, Any]:
  """The base's parameters, with rows for new tokens behind its vocabulary (which the adapter replaces)."""
  params = session.base.params
  added = [i for m in session.attached.methods if isinstance(m, tokens_lib.Tokens) for i in m.ids]
  behind = max([session.base.cfg.vocab - 1, *added]) + 1 - session.base.cfg.vocab
  if not behind:
    return params
  mean = lambda x, axis: jnp.repeat(jnp.mean(x.astype(jnp.float32), axis, keepdims=True).astype(x.dtype), behind, axis)
  grown = {name: axis for name, axis in (("embed/table", 0), ("head/kernel", 1)) if name in params}
  return {**params, **{n: jnp.concatenate([params[n], mean(params[n], axis)], axis) for n, axis in grown.items()}}


def _write_hf(session, dtype, partial: str):
  merged = attach.merge(session.attached)
  save_model(session, merged, dtype, partial)
  everywhere = jax.sharding.NamedSharding(session.mesh, jax.sharding.PartitionSpec())
  module, params = reread.model(partial, everywhere)
  binder = view.Binder.of(module, session.mesh, session.rules, "float32")
  return _compare(session, logits(binder, params, _probe(session))), {
    "merged": [type(m).__name__ for m in session.attached.methods],
    "read_again_by": "safetensors",
  }


def save_model(session: session_lib.Session, params, dtype: str, out: str) -> None:
  """Writes base parameters, config and tokenizer as a Hugging Face folder, with a progress bar."""
  tokenizer = session.tokenizer
  with console.Bars("tensors") as bars:
    bar = bars.add("export", total=len(params))
    load_lib.save_hf(
      out,
      _grown(session.base.module, params),
      params,
      dtype=dtype,
      tokens=_special_ids(session),
      config_json=session.base.config_json,
      generation=session.base.generation,
      progress=lambda name: bar.advance(),
    )
  if not isinstance(tokenizer, loading.NoTokenizer):
    tokenizer.save_pretrained(out)
  for name in images_lib.CONFIG_FILES:
    if os.path.exists(file := os.path.join(session.base.uri, name)):
      shutil.copyfile(file, os.path.join(out, name))


def _special_ids(session) -> dict[str, Any]:
  """Special tokens of a written config: the tokenizer's, and as ends also the base's and the template's turn end."""
  tokenizer = session.tokenizer
  if isinstance(tokenizer, loading.NoTokenizer):
    return {}
  ends = [*session.base.ends, tokenizer.eos_token_id]
  if tokenizer.chat_template:
    turn_end = session.renderer(chat.Rendering()).turn_end
    named = tokenizer(turn_end.text, add_special_tokens=False)["input_ids"]
    ends += named if len(named) == 1 else []
  ends = [i for i in dict.fromkeys(ends) if i is not None]
  others = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
  known = {"eos_token_id": ends[0] if len(ends) == 1 else ends} if ends else {}
  return {**known, **{name: value for name, value in others.items() if value is not None}}


def _grown(module, params):
  """The skeleton with the vocabulary of its (merged) table: new tokens make it longer."""
  vocab = params["embed/table"].shape[0]
  return module if vocab == module.cfg.vocab else load_lib.skeleton(dataclasses.replace(module.cfg, vocab=vocab))


def adapter_logits(session: session_lib.Session, folder: str) -> tuple[np.ndarray, str]:
  """Logits of the probe with a PEFT folder on the base that is loaded, and by whose word."""
  everywhere = jax.sharding.NamedSharding(session.mesh, jax.sharding.PartitionSpec())
  if (plain := reread.adapter(folder, session.base, everywhere)) is not None:
    binder = view.Binder.of(plain[0], session.mesh, session.rules, "float32")
    return logits(binder, plain[1], _probe(session)), "peft's formulas"
  methods, values = exchange.load(folder, session.base.module, layout.Layout.of(session.base.cfg))
  attached = attach.attach(
    session.base.module, session.base.params, methods, rng.root(0), mesh=session.mesh, rules=session.rules
  )
  arrays = exchange.fill(attached, values)
  params = {**attached.params, **{n: jax.device_put(a, attached.params[n].sharding) for n, a in arrays.items()}}
  binder = view.Binder.of(attached.module, session.mesh, session.rules, "float32")
  return logits(binder, params, _probe(session)), "this project"


def logits(binder: view.Binder, params, tokens_BT, prefix: int | None = None) -> np.ndarray:
  """Logits [B, T, V] of whole rows, float32.

  prefix: how many tokens of each row an encoder reads, or a prefix-LM sees both ways (half of them unless given);
  causal decoders do not look.
  """
  tokens_BT = np.asarray(tokens_BT, np.int32)
  T = tokens_BT.shape[1]
  positions_BT = np.broadcast_to(np.arange(T, dtype=np.int32), tokens_BT.shape)
  prefix_BT = (positions_BT < ((T + 1) // 2 if prefix is None else prefix)).astype(np.int32)
  batch = batch_lib.Batch(tokens_BT, None, None, np.ones_like(tokens_BT), positions_BT, prefix_BT)

  @jax.jit
  def run(params, batch):
    bound = binder(params)
    ctx = bound.context(batch)
    return bound.project(bound.hidden(batch.tokens_BT, ctx)[0], ctx)

  return np.asarray(run(params, batch), np.float32)


def _probe(session):
  if isinstance(session.tokenizer, loading.NoTokenizer):
    return [np.arange(24) * 7 % session.base.cfg.vocab]
  return [session.tokenizer(_PROBE, add_special_tokens=False)["input_ids"]]


def _compare(session, found) -> float:
  ours = logits(session.binder, session.attached.params, _probe(session))
  if not (np.isfinite(ours).all() and np.isfinite(found).all()):
    return math.nan
  return float(np.abs(ours - found).max() / max(ours.max() - ours.min(), 1e-30))


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs `itune export`; returns what was written, and how near its logits are."""
  manifest = gin_setup.call(
    export,
    adapter=args.adapter,
    format=args.format,
    dtype=args.dtype,
    out=args.out,
    dequantise=args.dequantise,
    base=args.base,
    naming=Naming.of(args),
    overwrite=args.overwrite,
  )
  return wrote(manifest, out=args.out, format=args.format)


def wrote(manifest: dict[str, Any], **facts: Any) -> dict[str, Any]:
  """Says where an export is; returns these facts and its parity. `out` is one of them."""
  near, rounded = manifest["logit_parity"], manifest["dtype"] != "float32"
  why = f" (weights were rounded to {manifest['dtype']})" if rounded else ""
  log.info(f"wrote {facts['out']}; read again, its logits differ by {near:.1e} of their range at most{why}")
  return {**facts, "logit_parity": manifest["logit_parity"]}
