"""A stranger's path, measured: `python scripts/bench_stranger.py` gives the commands of docs/guides/first_ablation.md,
as they stand there, in an empty folder and a fresh environment that has the wheel of this checkout.

The packages that itune_jax needs are those of the environment that runs this; `--download` installs them anew.
`--recipe=FILE` takes another recipe than the page's, such as a tiny one.
"""

import argparse
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "guides" / "first_ablation.md"


def main() -> None:
  """As the module says; the last line is JSON: seconds of each command, and all of them."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--download", action="store_true", help="install what itune_jax needs from the package index")
  parser.add_argument("--recipe", default="", metavar="FILE", help="in place of the page's recipe")
  parser.add_argument("--steps", default="", metavar="N", help="in place of the page's")
  parser.add_argument("--keep", default="", metavar="DIR", help="an empty folder to work in, which stays")
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as place:
    print(json.dumps(follow(pathlib.Path(args.keep or place), args)))


def follow(place: pathlib.Path, args: argparse.Namespace) -> dict[str, object]:
  """Follows the page in a folder; raises CalledProcessError where a command fails."""
  python, wheel = environment(place / "env"), built(place / "wheel")
  home = place / "home"
  home.mkdir()
  env = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}
  for name in ("PYTHONPATH", "XLA_FLAGS"):
    env.pop(name, None)
  seconds: dict[str, float] = {}
  for language, text in blocks(PAGE.read_text(encoding="utf-8")):
    if language == "python":
      subprocess.run([python, "-c", text], check=True, cwd=home, env=env)
    elif language == "toml":
      (home / "methods.toml").write_text(text, encoding="utf-8")
    for line in text.splitlines() if language == "bash" else ():
      words = said(line, python, wheel, home, args)
      started, load = time.perf_counter(), os.getloadavg()[0]
      print(f"$ {shlex.join(words)}", file=sys.stderr, flush=True)
      subprocess.run(words, check=True, cwd=home, env=env, stdout=sys.stderr)
      seconds[f"{len(seconds) + 1} {line[:40]}"] = took = round(time.perf_counter() - started, 1)
      print(f"{took} s, load {load:.1f} before and {os.getloadavg()[0]:.1f} after", file=sys.stderr)
  return {"commands": len(seconds), "seconds": seconds, "total_s": round(sum(seconds.values()), 1)}


def environment(folder: pathlib.Path) -> pathlib.Path:
  """A fresh environment that finds the packages of this one, and no checkout; its Python."""
  subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
  (site,) = folder.glob("lib/python*/site-packages")
  (site / "of_the_caller.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
  return folder / "bin" / "python"


def built(folder: pathlib.Path) -> pathlib.Path:
  """The wheel of what git has here."""
  source = folder / "source"
  source.mkdir(parents=True)
  archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
  subprocess.run(["tar", "-x", "-C", str(source)], input=archive, check=True)
  pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
  subprocess.run([*pip, "--wheel-dir", str(folder), str(source)], check=True)
  (wheel,) = folder.glob("*.whl")
  return wheel


def blocks(text: str) -> list[tuple[str, str]]:
  """The blocks of a page: language and text."""
  return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def said(
  line: str, python: pathlib.Path, wheel: pathlib.Path, home: pathlib.Path, args: argparse.Namespace
) -> list[str]:
  """A command of the page, with what a reader fills in."""
  words = shlex.split(line)
  if words[:2] == ["pip", "install"]:
    how = [] if args.download else ["--no-deps", "--no-index"]
    return [str(python), "-m", "pip", "-q", "--disable-pip-version-check", "install", *how, str(wheel)]
  if args.recipe:
    words = [word.replace("--gin_file=smollm2_lora", f"--gin_file={os.path.abspath(args.recipe)}") for word in words]
  if args.steps:
    words = [re.sub(r"--steps=\d+", f"--steps={args.steps}", word) for word in words]
  for name in ("lora", "dora"):
    words = [word.replace(f"{name}=RUN", f"{name}={','.join(_seeds(home, name))}") for word in words]
  return words


def _seeds(home: pathlib.Path, method: str) -> list[str]:
  """The runs of a method at its highest rate."""
  found: dict[float, list[str]] = {}
  for run in sorted((home / "runs" / "methods" / "runs").glob("*")):
    argv = " ".join(json.loads((run / "run.json").read_text(encoding="utf-8"))["argv"])
    if f"peft={method} " in f"{argv} " and (rate := re.search(r"Schedule\.rate=(\S+)", argv)):
      found.setdefault(float(rate[1]), []).append(str(run.relative_to(home)))
  return found[max(found)] if found else []


if __name__ == "__main__":
  main()
