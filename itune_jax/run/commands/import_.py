"""`itune import`: a base model into a Hugging Face folder of its own, or a PEFT adapter checked against a base."""

import json
import os

from itune_jax.core import files
from itune_jax.core import log
from itune_jax.run.commands import export
from itune_jax.run import gin_setup
from itune_jax.run import runtime
from itune_jax.run import specs


def main(args) -> None:
  """Runs the command; the last line of stdout is one JSON object."""
  runtime.configure_jax()
  gin_setup.parse("export", args.gin_file, args.overrides)
  if os.path.exists(os.path.join(args.source, "adapter_config.json")):
    manifest = gin_setup.call(export.export, adapter=args.source, format="peft", dtype="float32", out=args.out)
    full = {"adapter_model.safetensors": files.sha256(os.path.join(args.source, "adapter_model.safetensors"))}
  else:
    path = specs.resolve(args.source)
    manifest = gin_setup.call(
      export.export, model=specs.Model(base=args.source), format="hf", dtype=args.dtype, out=args.out
    )
    full = _hashes(path)
  manifest |= {"source": args.source, "source_sha256": full}
  files.write_json(os.path.join(args.out, "export_manifest.json"), manifest)
  log.info(f"wrote {args.out}; logits equal to {manifest['logit_parity']:.1e} of their range")
  print(json.dumps({"out": args.out, "source": args.source, "logit_parity": manifest["logit_parity"]}))


def _hashes(path: str) -> dict[str, str]:
  """The full SHA-256 of every weight file: taken once, here."""
  if os.path.isfile(path):
    return {os.path.basename(path): files.sha256(path)}
  return {f: files.sha256(os.path.join(path, f)) for f in sorted(os.listdir(path)) if f.endswith(".safetensors")}
