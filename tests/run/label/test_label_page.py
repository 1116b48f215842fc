"""The page in a real browser: its buttons and keys are used, and what it keeps and downloads is read back."""

import html
import json
import subprocess

import pytest

from itune_jax.run.label import sheets
from itune_jax.run.report import label_page
from tests.run.label import asked
from tests.run.report import test_compare_page
from tests.run.report import test_page

# A person at the page, from a frame around it: the page itself is as it is delivered, its policy included.
DRIVER = """
<!doctype html><body><iframe id="frame" style="width: WIDTHpx; height: 900px; border: 0" src="SRC"></iframe><script>
const frame = document.getElementById("frame"), seen = {}, wait = (ms) => new Promise((done) => setTimeout(done, ms));
const page = () => frame.contentDocument, at = (id) => page().getElementById(id);
const press = (key, more = {}) => (page().activeElement || page().body).dispatchEvent(
  new frame.contentWindow.KeyboardEvent("keydown", {key, bubbles: true, cancelable: true, ...more}));
const write = (id, value, event = "input") => { at(id).value = value; at(id).dispatchEvent(new Event(event)); };
const radio = (k) => at("choices").querySelectorAll("input")[k];
const loaded = () => new Promise((done) => frame.addEventListener("load", done, {once: true}));
async function download() {
  const blobs = [], make = frame.contentWindow.URL.createObjectURL;
  const url = frame.contentWindow.URL;
  url.createObjectURL = (blob) => { blobs.push(blob); return make.call(url, blob); };
  frame.contentWindow.HTMLAnchorElement.prototype.click = () => {};  // a real download holds up the browser's clock
  at("download").click();
  return blobs[0].text();
}
frame.addEventListener("load", async () => {
  try { await drive(); } catch (e) { seen.error = String(e.stack || e); }
  document.body.dataset.seen = JSON.stringify(seen);
}, {once: true});
async function drive() { SCRIPT }
</script></body>
"""
PREFERENCE = """
  seen.wide = page().documentElement.scrollWidth; seen.window = frame.contentWindow.innerWidth;
  seen.title = page().title; seen.images = page().images.length; seen.bold = page().querySelectorAll("pre b").length;
  press("1"); seen.nameless = [at("status").textContent, at("done").textContent, page().activeElement.id];
  write("name", "Ann"); at("heading").focus();
  press("1"); seen.first = [at("heading").textContent, page().activeElement.id, at("done").textContent];
  radio(1).click(); seen.clicked = [at("status").textContent, page().querySelector(".side.chosen").dataset.side];
  write("comment", "close call", "change"); at("save").click();
  press("3"); at("back").click(); seen.back = [radio(2).checked, at("state").textContent];
  press("n"); press("p"); press("p"); seen.comment = at("comment").value;
  at("clear").click(); seen.cleared = at("done").textContent; press("2");
  at("keys").click(); press("n"); seen.without_keys = at("heading").textContent; at("keys").click();
  write("number", "4", "change"); seen.at = at("heading").textContent;
  const pre = () => frame.contentWindow.getComputedStyle(page().querySelector("#texts pre")).filter;
  while (at("show").hidden && !at("next").disabled) at("next").click();
  press("1"); at("save").click();
  seen.veiled = [pre(), at("texts").getAttribute("aria-hidden"), at("state").textContent, at("status").textContent];
  at("show").click(); seen.unveiled = [pre(), at("texts").getAttribute("aria-hidden"), page().activeElement.id];
  const fields = [...page().querySelectorAll("input, textarea, progress")].filter((one) => !one.closest("[hidden]"));
  const named = (one) => one.labels?.length || one.getAttribute("aria-labelledby");
  seen.unlabelled = fields.filter((one) => !named(one)).map((one) => one.id);
  const right = (one) => one.offsetParent ? one.getBoundingClientRect().right : 0;
  seen.outside = [...page().querySelectorAll("button, input")].filter((one) => right(one) > seen.window + 1).length;
  write("name", "Bob"); seen.bob = at("done").textContent; at("heading").focus(); press("2"); write("name", "Ann");
  frame.contentWindow.location.reload(); await loaded();
  seen.reloaded = [at("name").value, at("done").textContent];
  seen.lines = await download();
  seen.kept = Object.keys(frame.contentWindow.localStorage).length;
"""
WORDS = """
  write("name", "Ann"); at("written").focus();
  seen.given = at("written").value; write("written", "A new answer.");
  press("n"); press("Enter", {ctrlKey: true}); seen.second = at("heading").textContent;
  seen.texts = at("texts").textContent; at("save").click();
  seen.lines = await download();
"""
pytestmark = [
  pytest.mark.heavy,
  pytest.mark.skipif(test_page.CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]


def driven(folder, page, script, width=1200):
  """What a person saw who did what the script says."""
  (folder / "label.html").write_text(page)
  driver = DRIVER.replace("SCRIPT", script).replace("WIDTH", str(width)).replace("SRC", "label.html")
  (folder / "driver.html").write_text(driver)
  how = ["--allow-file-access-from-files", "--virtual-time-budget=20000", f"--user-data-dir={folder}/profile"]
  command = [test_page.CHROMIUM, *test_page.FLAGS, *how, "--dump-dom", f"file://{folder}/driver.html"]
  dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd=folder).stdout
  attributes = dict(test_compare_page.Elements(dom).attributes)
  assert "data-seen" in attributes, dom[-3000:]
  seen = json.loads(html.unescape(attributes["data-seen"]))
  assert "error" not in seen, seen["error"]
  return seen


def pairs():
  given = [{"id": f"p{k}", "prompt": f"Ask {k}", "responses": [f"left {k}", f"right {k}"]} for k in range(5)]
  given[1] |= {"id": "constructor", "responses": [asked.EVIL, "fine"]}
  given[3] |= {"id": "__proto__"}
  return given


def made(folder):
  """The page of pairs, the last of which may be harmful, and its sheet."""
  given = pairs()
  last = asked.make(folder, given, "--kind=preference")[1].items[-1].id
  given = [{**row, "harmful": True} if row["id"] == last else row for row in given]
  return asked.make(folder, given, "--kind=preference", "--overwrite")


@pytest.mark.parametrize("width", [400, pytest.param(1200, marks=pytest.mark.full)])
def test_a_person_compares_and_what_is_downloaded_is_read_back(tmp_path, width):
  page, sheet = made(tmp_path)
  seen = driven(tmp_path, page, PREFERENCE, width)
  assert seen["window"] == width and seen["wide"] <= width and seen["outside"] == 0, "it does not scroll sideways"
  assert seen["images"] == seen["bold"] == 0 and seen["title"] == "Labelling: 5 items · itune_jax"
  assert "Write your name first" in seen["nameless"][0] and seen["nameless"][1:] == ["0 of 5 answered", "name"]
  assert seen["first"] == ["Item 2 of 5", "heading", "1 of 5 answered"]
  assert seen["clicked"] == ["Kept: item 2, the second is better.", "2"] and seen["comment"] == "close call"
  assert seen["back"] == [True, "answered"] and seen["cleared"] == "2 of 5 answered"
  assert seen["without_keys"] == "Item 3 of 5" and seen["at"] == "Item 4 of 5"
  assert seen["veiled"] == ["blur(9px)", "true", "", "Look at the item first."]
  assert seen["unveiled"] == ["none", None, "heading"]
  assert not seen["unlabelled"] and seen["bob"] == "0 of 5 answered"
  assert seen["reloaded"] == ["Ann", "3 of 5 answered"] and seen["kept"] == 1
  lines = [json.loads(line) for line in seen["lines"].splitlines()]
  said = {(one["annotator"], one["id"]): one["value"] for one in lines}
  ids = [item.id for item in sheet.items]
  assert said.pop(("Bob", next(id for name, id in said if name == "Bob"))) == "2"
  assert said == {("Ann", ids[0]): "1", ("Ann", ids[1]): "2", ("Ann", ids[2]): "tie"}
  rows, report = asked.read_back(tmp_path, lines)
  assert report["answers"]["refused"] == {} and report["answers"]["read"] == 4 and len(rows) >= 2


def test_a_person_writes_answers(tmp_path):
  given = [{"id": "a", "instruction": "Say a.", "output": "old"}, {"id": "b", "instruction": asked.EVIL, "output": "é"}]
  page, sheet = asked.make(tmp_path, given, "--kind=answer")
  seen = driven(tmp_path, page, WORDS)
  first, second = sheet.items
  assert seen["given"] == first.answer and seen["second"] == "Item 2 of 2" and second.turns[0][1] in seen["texts"]
  lines = [json.loads(line) for line in seen["lines"].splitlines()]
  assert [(one["id"], one["value"]) for one in lines] == [(first.id, "A new answer."), (second.id, second.answer)]
  rows, _ = asked.read_back(tmp_path, lines)
  assert [row["source"].get("corrected", False) for row in rows] == [True, False]


@pytest.mark.full
@pytest.mark.parametrize("width", [1200, 400])
def test_it_is_drawn(tmp_path, width):
  """Pixels in light and in dark: text is there, and is not everything."""
  item = sheets.Item(id="a", turns=(("user", "Why is the sky blue?"),), sides=(("x", "Because."), ("y", "Rayleigh.")))
  sheet = sheets.Sheet(kind="preference", question="Which is better?", values=("1", "2", "tie"), items=(item,))
  (tmp_path / "label.html").write_text(label_page.page(sheet))
  frame = f'<body style="margin: 0"><iframe style="width: {width}px; height: 900px; border: 0" src="label.html">'
  (tmp_path / "frame.html").write_text(f"<!doctype html>{frame}</iframe>")
  for dark in (False, True):
    shot = tmp_path / f"{width}_{dark}.png"
    how = [f"--user-data-dir={tmp_path}/p{dark}", f"--window-size={max(width, 500)},900", "--hide-scrollbars"]
    how += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    command = [test_page.CHROMIUM, *test_page.FLAGS, *how, f"--screenshot={shot}", f"file://{tmp_path}/frame.html"]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    grey = test_page._png(shot)[:, :width, :3].mean(-1)
    assert (grey.mean() < 90) if dark else (grey.mean() > 200)
    assert 0.002 < (abs(grey - grey[-5, 5]) > 90).mean() < 0.4
