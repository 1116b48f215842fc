"""The flags of `itune export`."""

from itune_jax.core import check
from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  command.adapter_flag(parser)
  parser.add_argument(
    "--format",
    choices=("hf", "peft"),
    default="hf",
    help="hf: a whole model, adapter merged in; peft: the adapter alone",
  )
  command.dtype_flag(parser, of="weights of --format hf")
  command.dequantise_flag(parser)
  command.base_flags(parser)
  command.out_flag(parser)


def together(args: command.Args) -> None:
  """Raises InputError for a flag that this format does not read."""
  if args.format == "peft":
    check.require(args.adapter, "--format=peft writes an adapter: give --adapter")
    check.require(args.dtype == "float32", f"--dtype={args.dtype} is of --format=hf: an adapter is float32")
  else:
    command.require_no_naming(args, "of --format=peft")


COMMAND = command.Command(
  name="export",
  help="write a Hugging Face model folder or a PEFT adapter folder",
  work="itune_jax.run.commands.export:from_flags",
  flags=flags,
  check=together,
  gin="export",
  recipe=False,
  own_base=True,
  starts="jax",
)
