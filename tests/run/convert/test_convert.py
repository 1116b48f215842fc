"""A configuration of another tool becomes a recipe that builds, with its values; what has no equal is named."""

import gin
import pytest
import yaml

from itune_jax.core import errors
from itune_jax.run import cli
from itune_jax.run import gin_setup
from itune_jax.run.commands import convert
from itune_jax.run.commands import train

TRL = {
  "model_name_or_path": "org/model",
  "dataset_name": "org/data",
  "use_peft": True,
  "lora_r": 16,
  "lora_alpha": 64,
  "lora_target_modules": ["q_proj", "down_proj"],
  "learning_rate": "2.0e-04",
  "lr_scheduler_type": "cosine",
  "warmup_ratio": 0.1,
  "num_train_epochs": 2,
  "per_device_train_batch_size": 4,
  "gradient_accumulation_steps": 2,
  "max_length": 2048,
  "packing": True,
  "assistant_only_loss": True,
  "seed": 7,
  "output_dir": "out",
}
LLAMA_FACTORY = {
  "model_name_or_path": "org/model",
  "stage": "dpo",
  "finetuning_type": "lora",
  "lora_rank": 8,
  "lora_target": "all",
  "pref_beta": 0.2,
  "pref_loss": "simpo",
  "dataset": "mine",
  "cutoff_len": 1024,
  "per_device_train_batch_size": 1,
  "gradient_accumulation_steps": 8,
  "learning_rate": 5e-6,
  "warmup_steps": 0.1,
  "bf16": True,
}
AXOLOTL = {
  "base_model": "org/model",
  "datasets": [{"path": "org/data", "type": "chat_template"}],
  "adapter": "qlora",
  "lora_r": 32,
  "lora_alpha": 16,
  "lora_target_linear": True,
  "sequence_len": 2048,
  "sample_packing": True,
  "micro_batch_size": 1,
  "gradient_accumulation_steps": 4,
  "max_steps": 100,
  "optimizer": "adamw_torch",
  "learning_rate": 0.0002,
  "val_set_size": 0.05,
  "bf16": "auto",
  "special_tokens": None,
}


def _converted(tmp_path, given, *flags):
  (tmp_path / "theirs.yml").write_text(yaml.safe_dump(given))
  out = tmp_path / "mine.gin"
  args = cli.find("convert").parse([str(tmp_path / "theirs.yml"), f"--out={out}", *flags])
  return convert.from_flags(args), out


def _built(out) -> train.Train:
  gin_setup.parse("train", [str(out)], ["DATA = 'x.jsonl'"])
  found = gin_setup.call(train.Train)
  gin.clear_config()
  return found


def test_trl(tmp_path):
  told, out = _converted(tmp_path, TRL)
  run = _built(out)
  assert told["tool"] == "trl" and not told["without"]
  assert (run.model.base, run.epochs, run.steps, run.seed, run.micro_batches) == ("org/model", 2, 0, 7, 2)
  assert (run.packing.rows, run.packing.row_length) == (8, 2048)
  (lora,) = run.peft
  assert (lora.rank, lora.alpha, lora.dropout) == (16, 64, 0.05)
  assert lora.sites == r"blocks/\d+/(attn/(q)|mlp/(down))"
  schedule = run.optimizer.schedule
  assert (schedule.rate, schedule.kind, schedule.warmup) == (2e-4, "cosine", 0.1)
  assert run.precision.frozen == "bfloat16" and "give the file by --data" in out.read_text()


def test_defaults_of_the_tool_stand_in_the_recipe(tmp_path):
  _, out = _converted(tmp_path, {"model_name_or_path": "m", "dataset_name": "d"})
  run = _built(out)
  schedule = run.optimizer.schedule
  assert (schedule.rate, schedule.kind, schedule.warmup, run.epochs, run.seed) == (2e-5, "linear", 0, 3, 42)
  assert (run.packing.rows, run.packing.row_length) == (8, 1024) and "trains on prompts too" in out.read_text()
  answers = {"model_name_or_path": "m", "dataset_name": "d", "completion_only_loss": True}
  assert "trains on prompts too" not in _converted(tmp_path, answers, "--overwrite")[1].read_text()


def test_llama_factory(tmp_path):
  told, out = _converted(tmp_path, LLAMA_FACTORY)
  run = _built(out)
  assert told["tool"] == "llama_factory"
  assert type(run.objective).__name__ == "Simpo" and (run.objective.beta, run.objective.gamma) == (0.2, 0.5)
  assert run.mixture.sources[0].format == "preference"
  (lora,) = run.peft
  assert (lora.rank, lora.alpha) == (8, 16) and run.optimizer.schedule.warmup == 0.1


def test_axolotl(tmp_path):
  told, out = _converted(tmp_path, AXOLOTL)
  run = _built(out)
  assert told["tool"] == "axolotl" and (run.steps, run.epochs) == (100, 0)
  assert run.model.quant.kind == "nf4" and run.validation.fraction == 0.05
  (lora,) = run.peft
  assert (lora.rank, lora.alpha, lora.dropout) == (32, 16, 0.0)


@pytest.mark.parametrize(
  ("change", "says"),
  [
    ({"lora_rr": 3}, "lora_rr: is no key of trl that is known here; did you mean lora_r?"),
    ({"fp16": True}, "fp16: float16 has no equal"),
    ({"lr_scheduler_type": "polynomial"}, "'polynomial' has no equal"),
    ({"optim": "lion_8bit"}, "'lion_8bit' has no equal"),
    ({"learning_rate": "fast"}, "'fast' is no float"),
    ({"seed": True}, "True is no int"),
    ({"lora_target_modules": ["c_attn"]}, "'c_attn'"),
    ({"max_steps": 100.5}, "max_steps: 100.5 is no int"),
    ({"learning_rate": float("nan")}, "nan is no float"),
    ({"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, "'fp4' has no equal"),
    ({"resume_from_checkpoint": "out/checkpoint-5"}, "checkpoints of other tools are not read"),
  ],
)
def test_what_has_no_equal_is_one_line_and_nothing_is_written(tmp_path, change, says):
  with pytest.raises(errors.InputError) as e:
    _converted(tmp_path, TRL | change)
  assert says in str(e.value) and "theirs.yml" in str(e.value) and "\n" not in str(e.value)
  assert not (tmp_path / "mine.gin").exists()


DPO = {k: v for k, v in TRL.items() if k not in ("packing", "assistant_only_loss", "learning_rate")}


def test_dpo_of_trl_is_told_by_any_of_its_keys_and_has_its_defaults(tmp_path):
  told, out = _converted(tmp_path, DPO | {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2]})
  run = _built(out)
  assert told["tool"] == "trl_dpo" and run.mixture.sources[0].format == "preference"
  loss = run.objective
  assert (loss.losses, loss.weights, loss.beta) == (("sigmoid", "sft"), (1.0, 0.2), 0.1)
  assert run.optimizer.schedule.rate == 1e-6 and run.peft[0].dropout == 0
  _, out = _converted(tmp_path, DPO | {"beta": 0.3, "label_smoothing": 0.1, "ld_alpha": 0.5}, "--overwrite")
  loss = _built(out).objective
  assert (loss.losses, loss.beta, loss.label_smoothing, loss.tail) == (("cdpo",), 0.3, 0.1, 0.5)
  _, out = _converted(tmp_path, DPO | {"sync_ref_model": True}, "--overwrite")
  assert 'include "objective/tr_dpo.gin"' in out.read_text() and _built(out)


def test_kto_of_llama_factory(tmp_path):
  _, out = _converted(tmp_path, LLAMA_FACTORY | {"stage": "kto", "kto_chosen_weight": 1.5})
  run = _built(out)
  loss = run.objective
  assert type(loss).__name__ == "Kto" and (loss.beta, loss.desirable, loss.undesirable) == (0.2, 1.5, 1.0)
  assert run.mixture.sources[0].format == "unpaired"


@pytest.mark.parametrize(
  ("given", "says"),
  [
    (TRL | {"loss_type": "dft"}, "loss_type: 'dft' has no equal in SFT"),
    (TRL | {"learning_rate": -1e-4}, "training refuses what it says: Schedule"),
    (TRL | {"lora_r": 0}, "training refuses what it says: Lora.rank must be positive, not 0"),
    (DPO | {"beta": 0.1, "loss_type": "foo"}, "Dpo.losses has ['foo']"),
    (LLAMA_FACTORY | {"quantization_bit": 4, "quantization_method": "hqq"}, "quantization_method: 'hqq' has no equal"),
    (LLAMA_FACTORY | {"pref_ftx": 0.5}, "pref_ftx: 0.5 has no equal beside pref_loss 'simpo'"),
    (AXOLOTL | {"datasets": [{"path": "x", "train_on_eos": "all"}]}, "train_on_eos: 'all' has no equal; 'turn' has"),
    (AXOLOTL | {"train_on_eos": "last"}, "train_on_eos: answers train, with the end of each turn"),
  ],
)
def test_what_would_be_another_run_is_refused(tmp_path, given, says):
  with pytest.raises(errors.InputError) as e:
    _converted(tmp_path, given)
  assert says in str(e.value) and "\n" not in str(e.value) and not (tmp_path / "mine.gin").exists()


def test_four_bits_beside_a_plain_adapter_are_taken_over(tmp_path):
  _, out = _converted(tmp_path, AXOLOTL | {"adapter": "lora", "load_in_4bit": True})
  assert _built(out).model.quant.kind == "nf4"
  with pytest.raises(errors.InputError, match="tokens: give specs.Model.special_tokens"):
    _converted(tmp_path, AXOLOTL | {"tokens": ["<x>"]}, "--overwrite")
  with pytest.raises(errors.InputError, match="learning_rate is not given, and axolotl has no default"):
    _converted(tmp_path, {k: v for k, v in AXOLOTL.items() if k != "learning_rate"}, "--overwrite")


def test_partial_writes_the_rest_and_says_so_in_the_recipe(tmp_path):
  told, out = _converted(tmp_path, TRL | {"fp16": True, "unheard_of": 1}, "--partial")
  assert told["without"] == ["fp16", "unheard_of"] and "# No equal: unheard_of" in out.read_text()
  assert _built(out)
  with pytest.raises(errors.InputError, match="give --overwrite"):
    _converted(tmp_path, TRL)


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "", "a: 1\n"])
def test_a_file_that_is_no_configuration_is_one_line(tmp_path, text):
  (tmp_path / "x.yml").write_text(text)
  with pytest.raises(errors.InputError) as e:
    convert.from_flags(cli.find("convert").parse([str(tmp_path / "x.yml"), f"--out={tmp_path}/o.gin"]))
  assert "x.yml" in str(e.value) and "\n" not in str(e.value)
