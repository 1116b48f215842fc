"""`itune import`: a base model into a Hugging Face folder of its own, or a PEFT adapter checked against a base."""

import os
from typing import Any

from itune_jax.core import check
from itune_jax.core import files
from itune_jax.run import adapters
from itune_jax.run import command
from itune_jax.run import gin_setup
from itune_jax.run import specs
from itune_jax.run.commands import export


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns what was written, and how near its logits are."""
  more: dict[str, Any] = {"out": args.out, "overwrite": args.overwrite}
  if adapters.is_peft(args.source):
    check.require(args.dtype == "float32", f"--dtype={args.dtype} is of whole models: {args.source} is an adapter")
    more |= {"base": args.base, "naming": export.Naming.of(args)}
    manifest = gin_setup.call(export.export, adapter=args.source, format="peft", dtype="float32", **more)
    full = {"adapter_model.safetensors": files.sha256(os.path.join(args.source, "adapter_model.safetensors"))}
  else:
    check.require(not args.base, f"--base is of adapters: {args.source} is none")
    command.require_no_naming(args, f"of adapters, and {args.source} is none")
    path, model = specs.resolve(args.source), specs.Model(base=args.source)
    manifest = gin_setup.call(export.export, model=model, format="hf", dtype=args.dtype, **more)
    full = _hashes(path)
  manifest = export.amend(args.out, manifest, {"source": args.source, "source_sha256": full})
  return export.wrote(manifest, out=args.out, source=args.source)


def _hashes(path: str) -> dict[str, str]:
  """The full SHA-256 of every weight file: taken once, here."""
  if os.path.isfile(path):
    return {os.path.basename(path): files.sha256(path)}
  return {f: files.sha256(os.path.join(path, f)) for f in sorted(os.listdir(path)) if f.endswith(".safetensors")}
