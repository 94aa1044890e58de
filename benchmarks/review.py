"""Measure what deciding a batch costs: a scripted expert at the keyboard, and at the page with forms.

    python benchmarks/review.py --photos 280
    python benchmarks/review.py --photos-from DIR      # real photos, a folder per animal
    python benchmarks/review.py --batch review/20260102-030405 --truth truth.json     # answers of `identify`
    python benchmarks/review.py --serve                # look at it yourself

Without `--batch` the answers are made up: the right animal is the first candidate in 80 % of the photos, the
second in 8 %, the third in 4 %, and in 8 % the animal is not known. The expert knows who it is and decides
nothing else: an animal that is not among the candidates is named by typing.
Seconds are of the interface: from a key or click until the next photo can be seen.
"""

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from socket import create_server
from typing import Any

import numpy as np
import pandas as pd
import uvicorn
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from reid_ray.datasets.prepared import PreparedImages
from reid_ray.reporting.answers import Answer, Answers, Candidate, write_answers
from reid_ray.reporting.known import known_photos
from reid_ray.reporting.review import review_cards
from reid_ray.review_app.door import Door
from reid_ray.review_app.queue import Batches
from reid_ray.review_app.server import MOST_BYTES, app
from reid_ray.runs import files

NAME = "20260102-030405"
ANIMALS, CANDIDATES = 40, 5
RANKS = ([0, 1, 2, None], [0.80, 0.08, 0.04, 0.08])
DECODED = (
    "() => Promise.all([...document.querySelectorAll('.view:not([hidden]) img')].map(one => one.decode()))"
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def synthetic(folder: Path, rng: np.random.Generator) -> dict[str, list[Path]]:
    """Two stripe patterns per animal, as photos."""
    found = {}
    for animal in range(ANIMALS):
        name = f"animal-{animal:02}"
        (folder / name).mkdir(parents=True)
        coat = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        for number in range(2):
            path = folder / name / f"{number}.jpg"
            Image.fromarray(coat).resize((1200, 900)).save(path)
            found.setdefault(name, []).append(path)
    return found


def photos_of(folder: Path) -> dict[str, list[Path]]:
    """A folder per animal; only animals with two photos or more."""
    found = {one.name: sorted(one.glob("*.[jJpP]*")) for one in sorted(folder.iterdir()) if one.is_dir()}
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def make_batch(folder: Path, animals: dict[str, list[Path]], count: int, seed: int) -> dict[str, str]:
    """A batch that is done; returns who is in each photo, "unknown" included."""
    rng = np.random.default_rng(seed)
    names = sorted(animals)
    sent = folder / NAME / "photos"
    sent.mkdir(parents=True)
    known = [(name, path) for name in names for path in animals[name][1:]]
    first_of = {name: place for place, (name, _) in reversed(list(enumerate(known)))}
    rows = [
        {"dataset": "reference", "identity": name, "path": str(path.resolve().relative_to("/"))}
        for name, path in known
    ]
    answers, truth = [], {}
    for number in range(count):
        name = names[int(rng.integers(len(names)))]
        path = f"photo-{number:03}.jpg"
        Image.open(animals[name][0]).convert("RGB").save(sent / path)
        rank = rng.choice(np.array(RANKS[0], object), p=RANKS[1])
        others = [one for one in rng.permutation(names) if one != name][:CANDIDATES]
        listed = others if rank is None else [*others[:rank], name, *others[rank:]][:CANDIDATES]
        p = rng.uniform(0.6, 0.999) if rank == 0 else rng.uniform(0.15, 0.6)
        told = [Candidate(one, p / 3**place, first_of[one]) for place, one in enumerate(listed)]
        sure = p > 0.5
        row = len(known) + number
        answers.append(Answer(row, listed[0] if sure else None, p if sure else 1 - p, 1 - p, tuple(told)))
        rows.append({"dataset": "query", "identity": "unknown", "path": path})
        truth[path] = "unknown" if rank is None else name
    table = pd.DataFrame(rows).assign(
        root=["/"] * len(known) + [str(sent)] * count,
        species="Tragelaphus angasii",
        location=[f"site {place % 3}" for place in range(len(rows))],
        orientation=[("left", "right")[place % 2] for place in range(len(rows))],
        encounter=["", *(f"trap {place // 2}" for place in range(1, len(rows)))],
        date="2026-01-02",
    )
    pictures = PreparedImages.pack(
        np.asarray(_small(Path("/" if row < len(known) else sent) / table["path"].iloc[row]))
        for row in range(len(rows))
    )
    made = Answers("batch", table, pd.DataFrame(), tuple(answers))
    write_answers(made, folder / NAME / "answers")
    files.write_json(folder / NAME / "answers" / "known.json", known_photos(table, ["reference"]))
    cards = review_cards(made, pictures, matching=None, drawn=0)
    files.write_json(folder / NAME / "answers" / "cards.json", cards)
    return truth


def _small(path: Path) -> Image.Image:
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((512, 512))
    return picture


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Its address, with the token."""
    with closing(create_server(("127.0.0.1", 0))) as listening:
        door = Door(MOST_BYTES)
        server = uvicorn.Server(uvicorn.Config(app(Batches(folder, []), door), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/batches/{NAME}/{{}}?token={door.token}"
        server.should_exit = True
        thread.join(20)


def by_keys(page: Page, address: str, truth: dict[str, str]) -> dict[str, Any]:
    """One pair at a time; the expert reads the candidates and presses keys alone."""
    began, keys, screens = time.perf_counter(), 0, 0
    firsts, photos_of_firsts, on_firsts = 0, 0, 0
    page.goto(address.format("decide"))
    caption = page.locator("#asked figcaption bdi").first
    while True:
        page.wait_for_selector("#one:not([hidden]), #end:not([hidden])")
        if page.locator("#end").is_visible():
            break
        path = caption.inner_text()
        page.evaluate(DECODED)
        screens += 1
        listed = page.eval_on_selector_all("#strip b", "all => all.map(one => one.innerText)")
        place = listed.index(truth[path]) if truth[path] in listed else None
        if place is not None:
            pressed = ["ArrowRight"] * place + ["Enter"]
        else:  # an animal that is not among the candidates is named, with what completes it
            pressed = ["u"] if truth[path] == "unknown" else ["n", *truth[path], "Enter"]
        photos = page.evaluate("card().paths.length")
        for key in pressed:
            page.keyboard.press(key)
        keys += len(pressed)
        if place == 0:
            firsts, on_firsts, photos_of_firsts = (
                firsts + 1,
                on_firsts + len(pressed),
                photos_of_firsts + photos,
            )
    while page.evaluate("unsent.length"):
        time.sleep(0.01)
    seconds = time.perf_counter() - began
    return {
        "keystrokes": keys,
        "clicks": 0,
        "screens": screens,
        "seconds of the interface": round(seconds, 1),
        "first candidate right": f"{firsts} answers of {photos_of_firsts} photos",
        "keystrokes a photo where the first candidate is right": round(
            on_firsts / max(photos_of_firsts, 1), 2
        ),
        "keystrokes an answer there": round(on_firsts / max(firsts, 1), 2),
    }


def by_forms(page: Page, address: str, truth: dict[str, str]) -> dict[str, Any]:
    """The page that works without a script: choose in each form, save each page."""
    began, clicks, keys, screens = time.perf_counter(), 0, 0, 0
    page.goto(address.format(""))
    number, height = 1, page.viewport_size["height"]
    while True:
        screens += -(-int(page.evaluate("document.documentElement.scrollHeight")) // height)
        for card in page.locator(".review-card").all():
            path = card.locator("input[type=radio]").first.get_attribute("name")
            value = "unknown" if truth[path] == "unknown" else f"is:{truth[path]}"
            choice = card.locator(f'input[type=radio][value="{value}"]')
            clicks += 1
            if choice.count():
                choice.check()
            else:
                card.locator("input[type=text]").fill(truth[path])
                keys += len(truth[path])
        with page.expect_navigation():
            page.click("text=Save decisions")
        clicks += 1
        number += 1
        following = page.locator("nav.pages").first.get_by_role("link", name=str(number), exact=True)
        if not following.count():
            break
        with page.expect_navigation():
            following.click()
        clicks += 1
    return {
        "keystrokes": keys,
        "clicks": clicks,
        "screens": screens,
        "seconds of the interface": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=280)
    parser.add_argument("--photos-from", type=Path)
    parser.add_argument("--batch", type=Path, help="a batch that was identified, instead of made-up answers")
    parser.add_argument("--truth", type=Path, help="of that batch: JSON, who is in each photo, or `unknown`")
    parser.add_argument("--ways", nargs="+", choices=["forms", "keys"], default=["forms", "keys"])
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rng = np.random.default_rng(given.seed)
        animals = photos_of(given.photos_from) if given.photos_from else None

        def batch(name: str) -> dict[str, str]:
            if given.batch:
                shutil.copytree(given.batch, folder / name / NAME)
                return json.loads(given.truth.read_text())
            there = animals or synthetic(folder / name / "known", rng)
            return make_batch(folder / name, there, given.photos, given.seed)

        if given.serve:
            batch("served")
            with served(folder / "served") as address:
                input(f"{address.format('decide')}\nEnter ends it. ")
            return
        for way in [{"forms": by_forms, "keys": by_keys}[name] for name in given.ways]:
            truth = batch(way.__name__)
            with served(folder / way.__name__) as address, sync_playwright() as play:
                browser = play.chromium.launch(executable_path=given.chromium, args=FLAGS)
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                measured = way(page, address, truth)
                browser.close()
            decided = Batches(folder / way.__name__, []).decisions(NAME)
            right = {path: "unknown" if who == "unknown" else f"is:{who}" for path, who in truth.items()}
            print(f"{way.__name__}: {measured}; as meant: {decided == right}", flush=True)


if __name__ == "__main__":
    main()
