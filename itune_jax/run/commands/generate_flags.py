"""The flags of `itune generate`."""

from itune_jax.core import check
from itune_jax.run import command
from itune_jax.run import flags as flags_lib

# What flags change of DECODE (`sampling.decode.decode.Decode`); what else it has, --gin.decode.Decode.NAME changes.
DECODE = {
  "max_new_tokens": (int, "tokens of an answer at most"),
  "n": (int, "answers to each prompt"),
  "temperature": (float, "0 is greedy"),
  "top_p": (float, "draw from the smallest set of tokens that reaches it"),
  "top_k": (int, "draw from the k likeliest tokens, 0 for all"),
  "min_p": (float, "draw from what is at least so likely as a share of the likeliest"),
  "repetition_penalty": (float, "of tokens in prompt and answer, 1 for none"),
  "presence_penalty": (float, "taken off the logits of tokens in the answer"),
  "frequency_penalty": (float, "taken off as often as a token stands in the answer"),
  "seed": (int, "of what is drawn"),
}


def flags(parser: command.Parser) -> None:
  """Adds them."""
  command.adapter_flag(parser)
  command.as_asked_flag(parser)
  parser.add_argument("--prompt", action="append", default=[], help="a prompt; repeat for more")
  parser.add_argument(
    "--image", action="append", default=[], metavar="FILE", help="an image for every --prompt; repeat"
  )
  parser.add_argument("--prompts", default="", metavar="FILE", help="JSON lines with `prompt` or `messages`")
  parser.add_argument(
    "--continue_final_message", action="store_true", help="go on from the last answer of each row of --prompts"
  )
  parser.add_argument("--stop", action="append", metavar="TEXT", help="ends an answer before it; repeat for more")
  for name, (kind, text) in DECODE.items():
    parser.add_argument(f"--{name}", type=kind, metavar="N" if kind is int else "X", help=text)
  parser.add_argument("--interactive", action="store_true", help="chat in the terminal (empty line or Ctrl-D ends)")
  parser.add_argument("--output", default="", metavar="FILE", help="write JSON lines here instead of printing")


def together(args: command.Args) -> None:
  """Raises InputError when there is nothing to answer, and for a setting that is given as a flag and as a value."""
  flags_lib.check_once(
    [
      *((f"--{name}", f"decode.Decode.{name}") for name in (*DECODE, "stop") if vars(args)[name] is not None),
      *((name, name.removeprefix("--gin.")) for name in (value.partition("=")[0] for value in args.gin_values)),
    ]
  )
  asked = args.prompt or args.prompts or args.interactive
  check.require(asked, "nothing to answer: give --prompt, --prompts, or --interactive")
  idle = {
    "--interactive": args.interactive and (args.prompt or args.prompts or args.image or args.output),
    "--image": args.image and not args.prompt,
    "--continue_final_message": args.continue_final_message and (args.prompt or not args.prompts),
  }
  reasons = {"--interactive": "asks for prompts by itself", "--image": "goes before each --prompt"}
  for flag, is_idle in idle.items():
    why = reasons.get(flag, "goes on from the answers of --prompts alone")
    check.require(not is_idle, f"{flag} {why}: leave out what does not go with it")


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
