"""`itune merge`: an adapter folded into its base in float32, as a Hugging Face folder."""

import json

from itune_jax.run import export
from itune_jax.run import gin_setup
from itune_jax.run import runtime


def main(args) -> None:
  """Runs the command: an export of the merged model. The last line of stdout is one JSON object."""
  runtime.configure_jax()
  gin_setup.parse("export", args.gin_file, args.overrides)
  manifest = gin_setup.call(
    export.export, adapter=args.adapter, format="hf", dtype=args.dtype, out=args.out, dequantise=args.dequantise
  )
  print(json.dumps({"out": args.out, "merged": manifest["merged"], "logit_parity": manifest["logit_parity"]}))
