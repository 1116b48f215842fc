"""The flags of `itune generate`."""

from itune_jax.core import check
from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  command.adapter_flag(parser)
  parser.add_argument("--prompt", action="append", default=[], help="a prompt; repeat for more")
  parser.add_argument(
    "--image", action="append", default=[], metavar="FILE", help="an image for every --prompt; repeat"
  )
  parser.add_argument("--prompts", default="", metavar="FILE", help="JSON lines with `prompt` or `messages`")
  parser.add_argument("--interactive", action="store_true", help="chat in the terminal (empty line or Ctrl-D ends)")
  parser.add_argument("--output", default="", metavar="FILE", help="write JSON lines here instead of printing")


def together(args: command.Args) -> None:
  """Raises InputError when there is nothing to answer."""
  asked = args.prompt or args.prompts or args.interactive
  check.require(asked, "nothing to answer: give --prompt, --prompts, or --interactive")


COMMAND = command.Command(
  name="generate",
  help="answer prompts, from a file, the command line, or interactively",
  work="itune_jax.run.commands.generate:from_flags",
  flags=flags,
  check=together,
  gin="generate",
  recipe=False,
  starts="jax",
)
