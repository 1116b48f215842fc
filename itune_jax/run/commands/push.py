"""`itune push`: a folder with its card, and its upload to the Hugging Face hub."""

import os
from typing import Any

import huggingface_hub
import huggingface_hub.errors

from itune_jax.core import jsontext
from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.run import command
from itune_jax.run.publish import staging

_MARK = ".itune_push.json"  # in a folder that was made here, so that no other is ever replaced; it is not uploaded
_CARD = "README.md"


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns what was, or would be, uploaded.

  Raises:
    InputError for what is no export and no data set of this project, and for a folder in use. RunError when the hub
    refuses.
  """
  for given in (args.path, args.out):
    check.require(not files.is_remote(given), f"{given} is in a bucket: copy it to this machine first")
  check.require(files.exists(args.path), f"{args.path}: no such file or folder")
  plain = args.path.rstrip("/").removesuffix(".jsonl")
  out = args.out.rstrip("/") or f"{plain}_hub"
  _check_out(out, args.path)
  asked = staging.Asked(args.repo, args.licence, args.base_name, args.run_dir, tuple(args.evals))
  edited = _edited_card(out)
  with files.whole_folder(out) as partial:
    staged = staging.stage(args.path, asked, partial)
    mark = {"repo": args.repo, "card_sha256": files.sha256(os.path.join(partial, _CARD))}
    if edited:
      log.info(f"{out}/{_CARD} was edited by hand and is kept; remove it for a new one")
      files.write_text(os.path.join(partial, _CARD), edited)
      mark["card_sha256"] = ""
    files.write_json(os.path.join(partial, _MARK), mark)
  _say(staged, out, args)
  told = {"repo": args.repo, "kind": staged.kind, "folder": out, "files": staged.files, "left_out": staged.left_out}
  if args.dry_run:
    return {**told, "uploaded": False}
  return {**told, "uploaded": True, "url": upload(huggingface_hub.HfApi(), staged.kind, out, args)}


def upload(api: huggingface_hub.HfApi, kind: str, folder: str, args: command.Args) -> str:
  """Makes the repository and sends the folder; returns the commit's address. Raises RunError when the hub refuses."""
  try:
    api.create_repo(args.repo, repo_type=kind, private=not args.public, exist_ok=args.overwrite)
    message = f"itune push {os.path.basename(folder)}"
    done = api.upload_folder(
      repo_id=args.repo, repo_type=kind, folder_path=folder, commit_message=message, ignore_patterns=[_MARK]
    )
  except huggingface_hub.errors.LocalTokenNotFoundError:
    raise errors.RunError("the hub asks who you are: hf auth login, or a token in HF_TOKEN") from None
  except huggingface_hub.errors.HfHubHTTPError as e:
    status = e.response.status_code if e.response is not None else 0
    cures = {401: "is the token right? (hf auth login, or HF_TOKEN)", 403: "may this token write there?"}
    cures[409] = "it is there already: give --overwrite for a new commit in it, or another --repo"
    raise errors.RunError(f"{args.repo}: the hub refused ({status}): {cures.get(status, jsontext.said(e))}") from None
  except Exception as e:  # of whichever library carries it: no network, no such host, a token that is no text
    raise errors.RunError(
      f"{args.repo}: the hub was not reached ({type(e).__name__}): {jsontext.said(e)}; {folder} holds all of it"
    ) from None
  return done.commit_url


def _check_out(out: str, path: str) -> None:
  """Raises InputError for a folder that this command did not make; one that it made is made anew."""
  inside = os.path.realpath(out) == os.path.realpath(path)
  check.require(not inside, f"--out={out} is what is published: give another folder")
  ours = files.exists(os.path.join(out, _MARK))
  check.require(ours or not files.exists(out), f"{out} is there, and itune push did not make it: give --out")


def _edited_card(out: str) -> str:
  """The card of a folder that was made before, where somebody changed it since; "" otherwise."""
  card = os.path.join(out, _CARD)
  if not files.exists(card) or files.sha256(card) == files.read_object(os.path.join(out, _MARK)).get("card_sha256"):
    return ""
  with files.opened(card) as f:
    return f.read()


def _say(staged: staging.Staged, out: str, args: command.Args) -> None:
  total = sum(staged.files.values()) / 2**20
  who = "public" if args.public else "private"
  log.info(
    f"{len(staged.files)} files, {total:,.1f} MiB in {out}; they {'would go' if args.dry_run else 'go'} to the "
    f"{staged.kind} {args.repo} ({who})"
  )
  for name, size in staged.files.items():
    log.info(f"  {size:>14,} {name}")
  for name, reason in staged.left_out.items():
    log.info(f"  stays here: {name}: {reason}")
  for note in staged.notes:
    log.info(note)
