"""The macros that people set: what each is for, which flag sets it, and what it is without. Nothing here needs gin."""

from typing import NamedTuple


class Macro(NamedTuple):
  """A macro of gin_configs. purpose: one line. flag: its short form on the command line, without dashes. text: whether
  it names something (a file, a model), so that a command that does not use it can do without it."""

  purpose: str
  flag: str = ""
  text: bool = False


MACROS: dict[str, Macro] = {
  "DATA": Macro(
    "the training data: a file, folder or glob; A,B@0.3 for several; seqio:NAME, tfds:NAME/CONFIG:VERSION", "data", True
  ),
  "MANIFEST": Macro(
    "the manifest of a prepared mixture, in place of data files (itune prepare names it)", "mixture", True
  ),
  "BASE": Macro("the model to start from: a known name, a folder, a .gguf file or a hub id", "base", True),
  "PEFT": Macro("the methods that train, a tuple; the parts are gin_configs/peft", "peft"),
  "STEPS": Macro("optimizer steps; or set EPOCHS", "steps"),
  "EPOCHS": Macro(
    "passes over the training data, in place of STEPS (steps = passes x rows / batch, rounded up)", "epochs"
  ),
  "EVAL_LIMIT": Macro("at most so many items of an evaluation, 0 for all", "limit"),
  "VAL_DATA": Macro("a file to measure the validation loss on", "val_data", True),
  "VAL_FRACTION": Macro(
    "share of the training rows that is held out, by their hash, for the validation loss", "val_fraction"
  ),
  "VAL_EVERY": Macro("steps between two validations; 0: ten times a run"),
  "TEMPLATE": Macro("the chat template: chatml, llava, paligemma, a file, or empty for the model's own", "", True),
  "EVAL_DATA": Macro("the file of held-out rows to evaluate on", "eval_data", True),
  "CHECK": Macro("how an answer to one is judged (exact, contains, any_of, json, final_number)", "check", True),
  "EVAL_STRIDE": Macro("every so many-th item of an evaluation"),
  "UNRELATED": Macro("unrelated text whose loss tells what is forgotten", "", True),
  "MICRO_BATCHES": Macro("into how many parts a batch is cut, one after the other"),
  "SEED": Macro("the seed of everything that is drawn"),
  "WARM_START": Macro("an adapter to start from", "", True),
  "WANDB_PROJECT": Macro("the Weights & Biases project, empty for none", "", True),
  "VIEWS": Macro("further models that the objective asks for, by name"),
  "DEBUG_NANS": Macro("stop at the first value that is no number"),
  "PROFILE": Macro("write a profiler trace of steps 2 to 4"),
  "MODEL": Macro("the base model, a run.specs.Model; the parts are gin_configs/models"),
  "MIXTURE": Macro("what is trained on; the parts are gin_configs/data"),
  "SELECTION": Macro("how rows are prepared and chosen; the parts are gin_configs/data/select"),
  "RENDERING": Macro("how conversations become tokens; comes with gin_configs/data"),
  "PACKING": Macro("rows and their length in a batch; comes with gin_configs/data"),
  "OBJECTIVE": Macro("the loss; the parts are gin_configs/objective"),
  "OPTIMIZER": Macro("the optimizer; the parts are gin_configs/optim"),
  "MESH": Macro("how arrays lie on the devices; the parts are gin_configs/mesh"),
  "PRECISION": Macro("the types of numbers; the parts are gin_configs/precision"),
  "REMAT": Macro("which activations are kept; the parts are gin_configs/remat"),
  "EVALS": Macro("the evaluators, a tuple; the parts are gin_configs/evals"),
  "GENERATOR": Macro("what makes rows of data with a model; the parts are gin_configs/synth"),
  "TEACHER_BASE": Macro(
    "the model that teaches (distillation): a known name, a folder, a .gguf file or a hub id", "", True
  ),
  "TEACHER": Macro("who is asked for data, under which licence, at which price"),
  "FAULTS": Macro("which answers of a teacher are dropped"),
  "ATTRIBUTES": Macro("what is drawn for each item, so that rows differ; gin_configs/overlays/diverse.gin sets some"),
  "DECODE": Macro("how answers are drawn; the parts are gin_configs/decode"),
}


def purpose(name: str) -> str:
  """What a macro is for, in brackets, or nothing of a macro of somebody's own."""
  return f" ({MACROS[name].purpose})" if name in MACROS else ""


def how(name: str) -> str:
  """How it is set on the command line."""
  flag = MACROS[name].flag if name in MACROS else ""
  return f"--{flag}=…" if flag else f"--gin.{name}=…"
