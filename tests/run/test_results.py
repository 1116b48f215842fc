"""What is there is not replaced in silence: evaluations, exports, and folders that are no runs."""

import pytest

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.run import results
from itune_jax.run import run_dir as run_dir_lib
from itune_jax.run.commands import export


def test_an_evaluation_of_a_name_is_replaced_when_told(tmp_path):
  results.check_label(str(tmp_path), "before", False)
  results.write(str(tmp_path), "before", "one", contracts.EvalResult([], []))
  with pytest.raises(errors.InputError, match="holds an evaluation before already: give --overwrite"):
    results.check_label(str(tmp_path), "before", False)
  results.check_label(str(tmp_path), "before", True)
  results.check_label(str(tmp_path), "after", False)


@pytest.mark.parametrize("label", ["a/b", "../up", "", " ", ".", "..", "step_000003", "a b", "-x"])
def test_a_name_is_one_folder(label):
  with pytest.raises(errors.InputError, match="the name of an evaluation"):
    results.check_label("", label, False)


def test_an_export_is_replaced_when_told(tmp_path):
  export.check_out(str(tmp_path / "new"), False)
  export.check_out(str(tmp_path), False)  # an empty folder
  (tmp_path / "export_manifest.json").write_text("{}")
  with pytest.raises(errors.InputError, match="holds an earlier export: give --overwrite"):
    export.check_out(str(tmp_path), False)
  export.check_out(str(tmp_path), True)
  (tmp_path / "export_manifest.json").rename(tmp_path / "notes.txt")
  with pytest.raises(errors.InputError, match="is no earlier export"):
    export.check_out(str(tmp_path), True)
  with pytest.raises(errors.InputError, match="is a file"):
    export.check_out(str(tmp_path / "notes.txt"), True)


def test_a_run_goes_into_a_folder_of_its_own(tmp_path):
  for names in ((), ("evals",), ("evals", ".owner.lock", "owner.json"), ("run.json", "evals", "peft", "notes.txt")):
    folder = tmp_path / "-".join(("run", *names))
    for name in names:
      (folder / name).mkdir(parents=True)
    run_dir_lib.check_place(str(folder))
  (tmp_path / "mine" / "recipes").mkdir(parents=True)
  with pytest.raises(errors.InputError, match="holds recipes, and is no run directory: name a new folder"):
    run_dir_lib.check_place(str(tmp_path / "mine"))
  (tmp_path / "file").write_text("")
  with pytest.raises(errors.InputError, match="file is a file: name a folder for the run"):
    run_dir_lib.check_place(str(tmp_path / "file"))
  with pytest.raises(errors.InputError, match="is empty"):
    run_dir_lib.check_place(" ")
