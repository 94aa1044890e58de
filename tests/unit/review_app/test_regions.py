"""A region drawn on a photo: kept with the decision, asked again, and taken back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from PIL import Image
from some_answers import answers, cards
from test_server import NAME, client

from reid_ray.reporting.answers import Answers, write_answers
from reid_ray.review_app.queue import Batches
from reid_ray.runs import files

AT = f"/batches/{NAME}"


class Asked(Batches):
    """What `identify` would write stands ready: it names whomever `who` says."""

    who = "=mia"
    asked: list[list[str]]

    async def _identify(self, words: Any, log: Path) -> int:
        self.asked.append(list(words))
        log.write_text("looking\n")
        if not self.who:
            log.write_text("looking\nerror: no memory\n")
            return 1
        made = answers()
        query = made.answers[0]
        turned = query.__class__(2, self.who, 0.8, 0.1, query.candidates[::-1])
        told = Answers("answers", made.rows, made.quarantine, (turned,), made.learnt)
        folder = Path(words[words.index("--out") + 1]) / "answers"
        write_answers(told, folder)
        files.write_json(
            folder / "known.json",
            [{"row": 1, "identity": "=mia", "root": "/r", "path": "p1.jpg", "facts": {}}],
        )
        files.write_json(folder / "cards.json", cards(told))
        return 0


@pytest.fixture
def batches(tmp_path: Path) -> Asked:
    folder = tmp_path / NAME
    (folder / "photos").mkdir(parents=True)
    Image.new("RGB", (400, 200)).save(folder / "photos" / "p2.jpg")
    write_answers(answers(), folder / "answers")
    known = {"identity": "=mia", "root": "/r", "path": "p1.jpg", "facts": {}}
    files.write_json(folder / "answers" / "known.json", [{"row": 7, **known}])
    files.write_json(folder / "answers" / "cards.json", cards(answers()))
    made = Asked(tmp_path, ["--reference", "none"], "ann")
    made.asked = []
    return made


def drawn(web: TestClient, box: object, revision: int = 0) -> Any:
    return web.post(f"{AT}/decide", json={"revision": revision, "decided": {}, "boxes": {"p2.jpg": box}})


def work_once(batches: Batches) -> None:
    """As the server does in the background."""
    found = batches._region()
    assert found is not None
    asyncio.run(batches._ask(*found))


def first_card(web: TestClient) -> dict[str, Any]:
    told = web.get(f"{AT}/photos.json").json()
    return next(one for one in told["cards"] if one["path"] == "p2.jpg")


def test_a_region_is_kept_in_pixels_and_asked_with_keypoints_in_it_alone(batches: Asked) -> None:
    web = client(batches)
    state = drawn(web, [0.25, 0.5, 0.5, 0.5]).json()
    assert state["regions"] == {"p2.jpg": "waiting"}
    assert state["boxes"] == {"p2.jpg": [0.25, 0.5, 0.5, 0.5]}
    assert batches.journal(NAME).boxes() == {"p2.jpg": [100, 100, 200, 100]}  # of 400 x 200
    work_once(batches)
    query = yaml.safe_load(Path(batches.asked[0][0]).read_text())["query"]
    assert (query["root"], query["keypoints"]) == (str(batches.folder / NAME / "photos"), "box")
    assert "crop" not in query  # local features need the photo's other parts for their places
    assert Path(query["metadata"]).read_text().splitlines() == ["path,bbox", 'p2.jpg,"[100, 100, 200, 100]"']


def test_the_new_answer_takes_the_place_of_the_first_until_the_region_is_taken_back(batches: Asked) -> None:
    web = client(batches)
    assert first_card(web)["identity"] == "leo"
    drawn(web, [0, 0, 0.5, 0.5])
    work_once(batches)
    card = first_card(web)
    assert (card["identity"], card["candidates"][0]["identity"]) == ("=mia", "=mia")
    assert card["candidates"][0]["row"] == 7  # by the first table, not by the second's own rows
    assert "=mia" in web.get(f"{AT}/").text.split("Who is it?")[0]
    assert Batches(batches.folder, []).answers(NAME).cards[0]["identity"] == "=mia"  # after a restart
    assert batches._region() is None
    assert drawn(web, [], revision=1).json()["regions"] == {}
    assert first_card(web)["identity"] == "leo"


def test_a_region_that_cannot_be_answered_says_why_and_can_be_asked_again(batches: Asked) -> None:
    web = client(batches)
    drawn(web, [0, 0, 0.5, 0.5])
    batches.who = ""
    work_once(batches)
    assert web.get(f"{AT}/state.json").json()["regions"] == {"p2.jpg": "failed: no memory"}
    assert first_card(web)["identity"] == "leo"
    assert batches._region() is None  # until somebody asks
    batches.who = "=mia"
    web.post(f"{AT}/regions/again?path=p2.jpg")
    work_once(batches)
    assert first_card(web)["identity"] == "=mia"


def test_a_server_that_was_killed_while_it_asked_asks_once_more(batches: Asked) -> None:
    drawn(client(batches), [0, 0, 0.5, 0.5])
    found = batches._region()
    assert found is not None
    from reid_ray.review_app import regions

    regions.begin(batches.folder / NAME, found[1], batches.journal(NAME).boxes(), network=False)
    again = Batches(batches.folder, [])  # killed here
    assert again.asked_again(NAME) == {"p2.jpg": "waiting"}
    assert again._region() is not None


def test_a_network_is_shown_the_region_alone(batches: Asked) -> None:
    batches.arguments = ["--reference", "none", "--model", "some"]
    drawn(client(batches), [0, 0, 0.5, 0.5])
    work_once(batches)
    assert yaml.safe_load(Path(batches.asked[0][0]).read_text())["query"]["crop"] == "bbox"


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([0, 0, 0.05, 0.5], "p2.jpg is 20 x 100 pixels of the photo; draw one of at least 32 x 32"),
        ([0.5, 0.5, 9, 9], "load the page again"),
        ([0, 0, 1], "load the page again"),
        ("all", "load the page again"),
        ([0, 0, True, 1], "load the page again"),
    ],
)
def test_what_is_no_region_is_refused_in_words(batches: Asked, box: object, said: str) -> None:
    answer = drawn(client(batches), box)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]
    assert batches.journal(NAME).boxes() == {}


def test_another_page_that_drew_meanwhile_is_told(batches: Asked) -> None:
    web = client(batches)
    drawn(web, [0, 0, 0.5, 0.5])
    answer = drawn(web, [0.5, 0.5, 0.5, 0.5], revision=0).json()
    assert list(answer["refused"]) == ["p2.jpg"]
    assert batches.journal(NAME).boxes() == {"p2.jpg": [0, 0, 200, 100]}


def test_a_decision_is_kept_with_who_made_it_and_on_what_evidence(batches: Asked) -> None:
    web = client(batches)
    web.post(f"{AT}/decide", json={"revision": 0, "decided": {"p2.jpg": "is:leo"}})
    kept = batches.journal(NAME).signed()["p2.jpg"]
    assert (kept.what, kept.reviewer) == ("is:leo", "ann")
    assert kept.evidence == "candidate 1 of 2, probability 0.95, beside p0.jpg"
    assert kept.at > 1.7e9
