"""The flags of `itune constraint_pairs`."""

from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("--data", required=True, metavar="FILE", help="instruction data: a file, folder or glob")
  parser.add_argument("--out", required=True, metavar="FILE", help="where pairs are written, as JSON lines")
  kinds = "which are made, of added, removed, swapped and across"
  parser.add_argument("--kinds", default="added,removed,swapped,across", metavar="KIND,KIND", help=kinds)
  parser.add_argument("--most", type=int, default=4, metavar="N", help="pairs of an answer at most")
  parser.add_argument("--seed", type=int, default=0, help="of what is drawn")


COMMAND = command.Command(
  name="constraint_pairs",
  help="make preferences over prompts of your answers, by constraints that can be checked",
  work="itune_jax.run.commands.constraint_pairs:from_flags",
  flags=flags,
)
