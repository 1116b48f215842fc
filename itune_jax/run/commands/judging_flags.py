"""The flags that say who judges, and what was judged elsewhere."""

from itune_jax.core import check
from itune_jax.run import command

# Those that are of no use without --judge, and of these those of an endpoint.
_OF_ENDPOINT = ("judge_model", "judge_key_env", "judge_journal", "judge_requests", "judge_tokens", "judge_at_a_time")
_OF_PANEL = ("judge_prompt", "judge_journal", "judge_requests", "judge_tokens", "judge_at_a_time")
_OF_ONE = ("judge_by", "judge_adapter", "judge_name", "judge_temperature", "judge_repeats")
_OF_JUDGE = (*_OF_ENDPOINT, *_OF_ONE, "judge_prompt")
NAMES = ("judge", *_OF_JUDGE, "baseline", "annotations", "difficulty")


def flags(parser: command.Parser) -> None:
  """Adds them."""
  add = parser.add_argument_group("judged benchmarks").add_argument
  text = "who judges: an endpoint (http://HOST:PORT/v1), `self`: the model, or FILE.toml: a panel of several"
  add("--judge", default="", metavar="URL", help=text)
  add("--judge_model", default="", metavar="NAME", help="the judge's model at its endpoint")
  add("--judge_key_env", default="", metavar="VARIABLE", help="the variable of the environment that holds its key")
  add("--judge_prompt", default="", metavar="NAME", help="its rubric, a name or a file (default: the benchmark's own)")
  by = "verdicts are read in its text (default), or weighed by log-probabilities: of its first token, or of all answers"
  add("--judge_by", default="", choices=("", "text", "tokens", "scores"), metavar="text|tokens|scores", help=by)
  add("--judge_adapter", default="", metavar="NAME", help="of `self`: the adapter that judges")
  add("--judge_name", default="", metavar="NAME", help="what else names the judge; hashed into every figure")
  add("--judge_temperature", type=float, default=0.0, metavar="X", help="of its answers (default: 0, greedy)")
  text = "asks it N times each, and takes the mean; how far it agrees with itself is a figure (needs a temperature)"
  add("--judge_repeats", type=int, default=0, metavar="N", help=text)
  kept = "keeps its answers, so that none is paid for twice (default: judge.jsonl in --out)"
  add("--judge_journal", default="", metavar="FILE", help=kept)
  add("--judge_requests", type=int, default=0, metavar="N", help="budget: requests sent (default: no bound)")
  add("--judge_tokens", type=int, default=0, metavar="N", help="budget: tokens in all (default: no bound)")
  add("--judge_at_a_time", type=int, default=0, metavar="N", help="its requests under way together (default: 8)")
  add(
    "--baseline", default="", metavar="FILE", help="the answers that are compared with (default: the benchmark's own)"
  )
  add("--annotations", default="", metavar="FILE", help="AlpacaEval's annotations: their win rates, without a model")
  add(
    "--difficulty", default="", metavar="FILE", help="AlpacaEval's df_gamed.csv, for the leaderboard's length control"
  )


def together(args: command.Args) -> None:
  """Raises InputError for what does not go together."""
  given = lambda names: "".join(f" --{name}" for name in names if getattr(args, name))
  check.require(args.annotations or not args.difficulty, "--difficulty is of --annotations, which are not given")
  if args.annotations:
    check.require(args.suite == "alpaca_eval", "--annotations are of one benchmark: --suite alpaca_eval")
    check.require(not args.judge and not args.responder, "--annotations are judged already: no --judge, no --responder")
  if not args.judge:
    check.require(not given(_OF_JUDGE), f"no --judge, which{given(_OF_JUDGE)} would be about")
  elif args.judge.endswith(".toml"):
    others = [name for name in _OF_JUDGE if name not in _OF_PANEL]
    check.require(not given(others), f"--judge is a panel, whose file says what{given(others)} would")
    # Whether one of them is the model itself is known once the file is read.
  elif args.judge == "self":
    check.require(not given(_OF_ENDPOINT), f"--judge is self, and{given(_OF_ENDPOINT)} is about an endpoint")
    check.require(
      not args.responses, "--judge is self, and stored answers (--responses) have no model: name an endpoint"
    )
  else:
    check.require(args.judge_model, "--judge is an endpoint: name its model (--judge_model)")
    check.require(not args.judge_adapter, "--judge_adapter is of --judge self: an endpoint knows no adapter")
    check.require(args.judge_by != "scores", "--judge_by scores is of --judge self: an endpoint scores no given text")
