"""The flags that say who judges, and what is judged without a model."""

from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument(
    "--judge", default="", metavar="URL", help="who judges: an endpoint (http://HOST:PORT/v1), or `self` for the model"
  )
  parser.add_argument("--judge_model", default="", metavar="NAME", help="the judge's model at its endpoint")
  parser.add_argument(
    "--judge_key_env", default="", metavar="VARIABLE", help="the variable of the environment that holds its key"
  )
  parser.add_argument("--judge_prompt", default="", metavar="NAME", help="its rubric (default: the benchmark's own)")
  parser.add_argument(
    "--judge_by",
    default="text",
    choices=("text", "tokens", "scores"),
    help="verdicts are read in its text, or weighed by log-probabilities: of its first token, or of all answers (mesh)",
  )
  parser.add_argument("--judge_adapter", default="", metavar="NAME", help="of `self`: the adapter that judges")
  parser.add_argument("--judge_name", default="", metavar="NAME", help="what else names it; hashed into every figure")
  parser.add_argument(
    "--judge_journal", default="", metavar="FILE", help="keeps its answers, so that nothing is paid twice"
  )
  parser.add_argument(
    "--judge_requests", type=int, default=0, metavar="N", help="budget: requests sent (default: no bound)"
  )
  parser.add_argument(
    "--judge_tokens", type=int, default=0, metavar="N", help="budget: tokens in all (default: no bound)"
  )
  parser.add_argument("--judge_at_a_time", type=int, default=8, metavar="N", help="its requests under way together")
  parser.add_argument("--baseline", default="", metavar="FILE", help="the answers that are compared with")
  parser.add_argument(
    "--annotations", default="", metavar="FILE", help="AlpacaEval's annotations: their win rates, without a model"
  )
  parser.add_argument(
    "--difficulty", default="", metavar="FILE", help="AlpacaEval's df_gamed.csv: the leaderboard's length control"
  )
