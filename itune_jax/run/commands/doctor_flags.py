"""The flags of `itune doctor`."""

from itune_jax.run import command

COMMAND = command.Command(
  name="doctor",
  help="say what is here (versions, devices, caches, disk, compiler), and what is missing for what",
  work="itune_jax.run.commands.doctor:from_flags",
)
