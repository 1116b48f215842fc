"""The flags of `itune merge`."""

from itune_jax.core import check
from itune_jax.run import command

_WITH_DENSITY = ("ties", "dare", "dare_ties", "magnitude_prune")
_HOW = ("linear", "soup", "ties", "dare", "dare_ties", "slerp", "magnitude_prune")


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument(
    "--adapter",
    required=True,
    action="append",
    metavar="PATH",
    help="a run directory, a checkpoint, or a PEFT folder; repeat to combine several",
  )
  _combining(parser)
  parser.add_argument(
    "--format",
    choices=("hf", "lora"),
    default="hf",
    help="hf: a whole model; lora: a PEFT folder of --rank, with what is lost (of one adapter of any linear kind too)",
  )
  parser.add_argument("--rank", type=int, default=0, help="of --format lora")
  command.dtype_flag(parser, of="weights of --format hf")
  command.dequantise_flag(parser)
  command.base_flags(parser)
  command.out_flag(parser)


def _combining(parser: command.Parser) -> None:
  """What is made of several adapters."""
  weight = "of each adapter, in their order (default: 1)"
  parser.add_argument("--weight", action="append", type=float, default=[], help=weight)
  how = "how what several do to the weights is combined (default: linear, the weighted sum)"
  parser.add_argument("--how", choices=_HOW, default="linear", help=how)
  factors = "combine A with A and B with B, as peft's add_weighted_adapter (linear, ties, magnitude_prune)"
  parser.add_argument("--factors", action="store_true", help=factors)
  density = "ties, dare, magnitude_prune: share of the values that stays (default: 0.2)"
  parser.add_argument("--density", type=float, default=0.2, help=density)
  parser.add_argument("--scale", type=float, default=1.0, help="factor of the result (default: 1)")
  parser.add_argument("--seed", type=int, default=0, help="of what dare drops (default: 0)")


def together(args: command.Args) -> None:
  """Raises InputError for a number of weights that is not that of adapters, and for a flag that nothing here reads."""
  n, weights = len(args.adapter), len(args.weight)
  check.require(weights in (0, n), f"{n} adapters and {weights} weights: give one --weight each, or none")
  idle = {
    "--rank": args.rank and (args.format == "hf" or args.factors),
    "--dtype": args.dtype != "float32" and args.format == "lora",
    "--density": args.density != 0.2 and args.how not in _WITH_DENSITY,
    "--scale": args.scale != 1.0 and args.factors,
    "--seed": args.seed and args.how not in ("dare", "dare_ties"),
  }
  for flag, is_idle in idle.items():
    how = f"--format={args.format} --how={args.how}{' --factors' * args.factors}"
    check.require(not is_idle, f"{flag} changes nothing with {how}: leave it out")
  if args.format == "hf":
    command.require_no_naming(args, "of --format=lora")


COMMAND = command.Command(
  name="merge",
  help="merge an adapter into its base and write a Hugging Face folder",
  work="itune_jax.run.commands.merge:from_flags",
  flags=flags,
  check=together,
  gin="merge",
  recipe=False,
  own_base=True,
  starts="jax",
)
