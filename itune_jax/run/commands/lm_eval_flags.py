"""The flags of `itune lm_eval`, which are lm-eval's own."""

from itune_jax.run import command

_EPILOG = (
  "All other flags are those of lm-eval itself: `python -m lm_eval run --help` lists them. Where they do not say so, "
  "--model is itune_jax and --batch_size auto. --model_args: base=MODEL,adapter=FOLDER,dtype=float32 and more "
  "(the guide on lm-eval has them all)."
)


def flags(parser: command.Parser) -> None:
  """Adds them: none."""
  parser.epilog = _EPILOG


COMMAND = command.Command(
  name="lm_eval",
  help="run lm-evaluation-harness, with its own flags, on a model of this project (--model itune_jax)",
  work="itune_jax.run.commands.lm_eval:from_flags",
  flags=flags,
  starts="jax",
  hands_on=True,
)
