"""The flags of `itune synth`."""

from typing import NamedTuple

from itune_jax.core import check
from itune_jax.run import command

_OF_ENDPOINT = ("responder_model", "key_env", "at_a_time", "requests", "spend", "breaker")


class Role(NamedTuple):
  """Who has a role: an endpoint with its model, or a saved adapter."""

  name: str
  where: str
  model: str

  @property
  def is_endpoint(self) -> bool:
    """Whether it is an endpoint."""
    return self.where.startswith(("http://", "https://"))


def flags(parser: command.Parser) -> None:
  """Adds them."""
  command.adapter_flag(parser)
  command.as_asked_flag(parser)
  add = parser.add_argument
  add("--out", required=True, metavar="DIR", help="the folder of the rows; a run that stands there goes on")
  add("--accept", type=int, default=0, metavar="N", help="end with so many rows that pass all filters")
  add("--candidates", type=int, default=0, metavar="N", help="end when so many rows were looked at")
  add(
    "--tokens", type=int, default=0, metavar="N", help="end when the items cost so many tokens, of prompts and answers"
  )
  add("--batch", type=int, default=64, metavar="N", help="items under way together; it changes no row")
  modes = ("never", "always", "if-possible")
  add("--resume", default="if-possible", choices=modes, help="what to do with a run that stands in --out")
  add("--licence", default="", metavar="TEXT", help="of what the teacher says; it stands in every row")
  role = "who has a role of the generator (judge, backward): ROLE=URL,MODEL or ROLE=ADAPTER; others: the teacher"
  add("--role", action="append", default=[], metavar="ROLE=WHO", help=role)
  endpoint = parser.add_argument_group("a teacher behind an OpenAI-compatible endpoint").add_argument
  endpoint("--responder", default="", metavar="URL", help="ask this endpoint (http://HOST:PORT/v1), not a model here")
  endpoint("--responder_model", default="", metavar="NAME", help="the model that the endpoint is asked for")
  endpoint("--key_env", default="", metavar="VARIABLE", help="the variable of the environment that holds its key")
  endpoint("--at_a_time", type=int, default=8, metavar="N", help="requests under way together")
  endpoint("--requests", type=int, default=0, metavar="N", help="budget: requests sent, failed ones too")
  endpoint("--spend", type=int, default=0, metavar="N", help="budget: tokens that the endpoint counts")
  breaker = "after 20 faults in a row all pause for a minute; five such pauses in a row end the run, or not"
  endpoint("--breaker", default="stop", choices=("stop", "resume", "off"), help=breaker)


def together(args: command.Args) -> None:
  """Raises InputError for what does not go together."""
  args.roles = [_role(text) for text in args.role]
  names = [role.name for role in args.roles]
  check.require(len(set(names)) == len(names), f"--role names one role twice: {', '.join(names)}")
  if args.responder:
    check.require(args.responder_model, "--responder is an endpoint: name its model (--responder_model)")
    check.require(not args.adapter and args.macro_BASE is None, "--responder is an endpoint: no --base, no --adapter")
    local = [role.name for role in args.roles if not role.is_endpoint]
    check.require(not local, f"--role {', '.join(local)}: the teacher is an endpoint, so no adapter is loaded here")
    return
  on = any(role.is_endpoint for role in args.roles)
  defaults = {"at_a_time": 8, "requests": 0, "spend": 0, "breaker": "stop", "key_env": "", "responder_model": ""}
  given = [name for name in _OF_ENDPOINT if vars(args)[name] != defaults[name] and not on]
  check.require(not given, f"--{given[0] if given else ''} is about an endpoint: give --responder, or a role's")


def _role(text: str) -> Role:
  name, equals, who = text.partition("=")
  check.require(equals and name and who, f"--role {text!r}: write it as ROLE=URL,MODEL or ROLE=ADAPTER")
  where, _, model = who.partition(",") if who.startswith("http") else (who, "", "")
  found = Role(name, where, model)
  check.require(not found.is_endpoint or model, f"--role {text!r}: name the endpoint's model: {name}={where},MODEL")
  return found


COMMAND = command.Command(
  name="synth",
  help="make instruction data with a model: generate, filter, resume, and say where each row is from",
  work="itune_jax.run.commands.synth:from_flags",
  flags=flags,
  check=together,
  gin="synth",
  starts="cluster",
)
