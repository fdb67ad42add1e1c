from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from gristmill.matching import BadKey, BadReference, BadThreshold, Match, Matcher, match
from gristmill.matching.lessons import BadLesson

FIRST = [
    "Anna",
    "Bruno",
    "Clara",
    "David",
    "Elena",
    "Felix",
    "Greta",
    "Hugo",
    "Irene",
    "Jonas",
    "Karla",
    "Lukas",
    "Maria",
    "Nils",
    "Olga",
    "Paul",
    "Rosa",
    "Simon",
]
LAST = [
    "Albrecht",
    "Bergmann",
    "Castelli",
    "Dubois",
    "Eriksen",
    "Fontana",
    "Garcia",
    "Hoffmann",
    "Ivanova",
    "Jensen",
    "Kowalski",
    "Lindqvist",
]
STREETS = [
    "Mill",
    "Harbour",
    "Station",
    "Castle",
    "Church",
    "Garden",
    "River",
    "Market",
    "School",
    "Forest",
    "Bridge",
    "Orchard",
]
CITIES = [("Lund", "22100"), ("Graz", "8010"), ("Porto", "4000"), ("Gdansk", "80001"), ("Nantes", "44000")]


def person(number: int, dice: random.Random) -> dict[str, str]:
    city, postcode = dice.choice(CITIES)
    return {
        "id": f"P{number * 7919 % 100_003:06d}",
        "name": f"{dice.choice(FIRST)} {dice.choice(LAST)}",
        "street": f"{dice.randrange(1, 200)} {dice.choice(STREETS)} Street",
        "city": city,
        "postcode": postcode,
        "phone": f"+46 {dice.randrange(10, 99)} {dice.randrange(1_000_000, 9_999_999)}",
    }


def dice_of(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - made-up people, no secrets


def people(count: int, seed: int = 1) -> list[dict[str, str]]:
    dice = dice_of(seed)
    return [person(number, dice) for number in range(count)]


def as_customers(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The same people in another system: other columns, other spellings, no ids in common."""
    return [
        {
            "customer": row["name"].upper(),
            "address": f"{row['street'].replace('Street', 'St.')}, {row['postcode']} {row['city']}",
            "tel": row["phone"].replace("+46 ", "0").replace(" ", "-"),
        }
        for row in rows
    ]


def pairs(matches: list[Match]) -> set[tuple[int, str]]:
    return {(item.left, item.reference_id) for item in matches}


def test_other_columns_and_spellings_are_matched_and_explained() -> None:
    reference = people(300)
    rows = as_customers(reference[50:150])
    found = match(rows, reference)
    truth = {(number, reference[50 + number]["id"]) for number in range(100)}
    assert len(pairs(found) & truth) >= 98
    assert len(pairs(found) - truth) <= 1
    assert found == sorted(found, key=lambda item: item.left)
    one = found[0]
    assert one.method == "STANDARD"
    assert 0.5 <= one.confidence < 1
    assert "phone equal" in one.explanation


def test_rows_without_a_match_stay_without() -> None:
    everyone = people(400)
    found = match(as_customers(everyone[:200]), everyone[200:])
    assert len(found) <= 6  # people who share name, town and street with somebody else: one in thirty at most
    mixed = match(as_customers(everyone[:200]), everyone[190:])
    assert {(item.left, item.reference_id) for item in mixed} >= {
        (number, everyone[number]["id"]) for number in range(190, 200)
    }
    assert len(mixed) <= 14


def test_equal_rows_are_exact() -> None:
    reference = people(100)
    rows = [{key: text for key, text in row.items() if key != "id"} for row in reference[:30]]
    found = match(rows, reference)
    assert pairs(found) == {(number, reference[number]["id"]) for number in range(30)}
    assert {item.method for item in found} == {"EXACT"}


def test_the_reference_key_in_a_row_settles_it() -> None:
    reference = people(100)
    rows = [{"ref": row["id"], "who": row["name"]} for row in reference[:40]] + [{"ref": "", "who": "Nobody Known"}]
    found = match(rows, reference)
    assert pairs(found) == {(number, reference[number]["id"]) for number in range(40)}
    assert {item.method for item in found} == {"KEY"}
    assert all(item.confidence > 0.99 and "key" in item.explanation for item in found)


def test_row_numbers_that_both_sides_have_are_no_key() -> None:
    reference = [{**row, "id": str(number + 1)} for number, row in enumerate(people(120))]
    shuffled = list(range(120))
    dice_of(3).shuffle(shuffled)
    rows = [
        {"id": str(position + 1), **as_customers([reference[number]])[0]} for position, number in enumerate(shuffled)
    ]
    found = match(rows, reference)
    assert "KEY" not in {item.method for item in found}
    truth = {(position, reference[number]["id"]) for position, number in enumerate(shuffled)}
    assert len(pairs(found) & truth) >= 116


def test_a_key_that_cannot_name_rows_is_refused() -> None:
    reference = people(10)
    with pytest.raises(BadKey, match="no column `nope`; it has: id, name"):
        match([], reference, key="nope")
    with pytest.raises(BadKey, match="repeats a value in"):
        match([], reference, key="city")
    with pytest.raises(BadKey, match="is empty in 1 rows"):
        match([], [*reference, {**reference[0], "id": " "}], key="id")


def test_a_reference_without_a_key_is_numbered_from_one() -> None:
    reference = [{"name": row["name"], "phone": row["phone"]} for row in people(50)]
    found = match([reference[9]], reference)
    assert pairs(found) == {(0, "10")}


@pytest.mark.parametrize("sides", [([], []), ([], people(3)), (people(3), [])])
def test_no_rows_on_a_side_is_no_match(sides: tuple[list[dict[str, str]], list[dict[str, str]]]) -> None:
    assert match(*sides) == []


def test_one_row_finds_its_record_or_none() -> None:
    reference = people(500)
    assert pairs(match(as_customers(reference[17:18]), reference)) == {(0, reference[17]["id"])}
    assert match([{"customer": "ZZZ Unlike", "address": "9 Nowhere Loop", "tel": "1"}], reference) == []


def test_rows_of_empty_cells_match_nothing() -> None:
    reference = [*people(50), dict.fromkeys(person(1, dice_of(1)), "")]
    reference[-1]["id"] = "empty"
    empty = dict.fromkeys(reference[0], "")
    assert match([empty, {}, {"name": None, "street": "  "}], reference, key="id") == []


def test_one_column_on_both_sides() -> None:
    names = [f"{first} {last} {street}" for first in FIRST for last in LAST[:6] for street in STREETS[:2]]
    found = match([{"a": name.upper()} for name in names[:80]], [{"b": name} for name in names])
    assert pairs(found) == {(number, str(number + 1)) for number in range(80)}


def test_thousands_of_identical_names_are_not_guessed() -> None:
    rows = [{"name": "John Smith"}] * 3_000
    found = match(rows, [{"id": f"R{number}", "name": "John Smith"} for number in range(3_000)], key="id")
    assert found == []


def test_identical_names_are_told_apart_by_another_column() -> None:
    reference = [
        {"id": f"R{n}", "name": "John Smith", "born": f"19{n % 90 + 10}-0{n % 9 + 1}-1{n % 10}"} for n in range(90)
    ]
    found = match([{"who": "Smith John", "birthday": row["born"]} for row in reference], reference)
    assert pairs(found) <= {(number, f"R{number}") for number in range(90)}
    assert len(found) >= 85


def test_duplicates_among_rows_share_a_record() -> None:
    reference = people(80)
    rows = as_customers(reference) + as_customers(reference)
    found = match(rows, reference)
    truth = {(number, reference[number % 80]["id"]) for number in range(160)}
    assert len(pairs(found) & truth) >= 155
    strict = match(rows, reference, one_to_one=True)
    ids = [item.reference_id for item in strict]
    assert len(ids) == len(set(ids))
    assert len(match(rows, reference, one_to_one=False)) >= 155


def dirty(rows: list[dict[str, str]], dice: random.Random) -> list[dict[str, str]]:
    """The same people as somebody else typed them, no two alike: letters are lost, cells are empty."""

    def typed(text: str) -> str:
        if dice.random() < 0.1:
            return ""
        places = {dice.randrange(len(text)) for _ in range(dice.randrange(3))}
        return "".join(char for place, char in enumerate(text) if place not in places)

    return [{name: typed(text) for name, text in row.items() if name != "id"} for row in rows]


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_rows_that_hold_most_things_several_times_share_records(share: float) -> None:
    """Each is typed anew, so that none is as good as another, and all of them are right."""
    dice, known = dice_of(3), people(240)
    reference = known[:200]
    once = dirty(known, dice)
    rows = once + [row for _ in range(2) for row in dirty(reference[: int(200 * share)], dice)]
    truth = {(n, reference[n]["id"]) for n in range(200)}
    truth |= {(n, reference[(n - 240) % int(200 * share)]["id"]) for n in range(240, len(rows))}
    found = pairs(match(rows, reference))
    assert len(found & truth) >= 0.93 * len(truth)
    assert len(found - truth) <= 0.02 * len(truth)
    strict = [item.reference_id for item in match(rows, reference, one_to_one=True)]
    assert len(strict) == len(set(strict))


def test_a_reference_that_holds_most_things_several_times_takes_no_match_away() -> None:
    dice, known = dice_of(4), people(240)
    listed = [row for _ in range(4) for row in dirty(known[:200], dice)]
    reference = [{"id": f"R{number}", **row} for number, row in enumerate(listed)]
    found = match(dirty(known, dice), reference)
    right = sum(item.left == int(item.reference_id[1:]) % 200 for item in found)
    assert right >= 0.93 * 200
    assert len(found) - right <= 4


def test_rows_that_are_judged_a_few_at_a_time_share_records_as_together() -> None:
    dice, reference = dice_of(5), people(150)
    rows = [row for _ in range(3) for row in dirty(reference, dice)]
    matcher = Matcher().prepare(reference).learn(rows)
    found = [item for first in range(0, 450, 50) for item in matcher.match(rows[first : first + 50])]
    assert len(found) >= 0.93 * 450


def test_a_number_that_differs_parts_what_the_same_words_join() -> None:
    models = [f"Vantar pump {n} litre series {n % 7}" for n in range(12, 120, 2)]
    reference = [{"id": f"M{n}", "article": text} for n, text in enumerate(models)]
    rows = [{"what": text.replace("litre", "l")} for text in models[:30]]
    found = pairs(match(rows, reference, key="id"))
    truth = {(n, f"M{n}") for n in range(30)}
    assert len(found & truth) >= 28
    assert len(found - truth) <= 1


def test_a_column_that_repeats_the_key_is_no_fact() -> None:
    reference = people(120)
    twice = [{**row, "number": row["id"]} for row in reference]
    rows = as_customers(reference[:60])
    assert pairs(match(rows, twice, key="id")) == pairs(match(rows, reference, key="id"))


def test_equal_rows_are_found_among_near_relatives() -> None:
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    found = match([{"a": name} for name in names[::3]], [{"b": name} for name in names])
    assert pairs(found) == {(n, str(3 * n + 1)) for n in range(len(names[::3]))}


def test_a_huge_cell_and_odd_characters_are_only_text() -> None:
    reference = people(60)
    rows: list[dict[str, Any]] = as_customers(reference[:20])
    rows[0]["notes"] = "x y " * 500_000
    rows[1]["notes"] = "\x00\ud800 \N{GRINNING FACE} نص \N{COMBINING ACUTE ACCENT}"
    rows[2]["count"] = 7
    found = match(rows, reference)
    assert len(pairs(found) & {(number, reference[number]["id"]) for number in range(20)}) >= 18


def test_scripts_without_blanks_and_accents() -> None:
    reference = [
        {"code": f"K{number:03d}", "名称": f"{city}市立{kind}{number % 5}号"}
        for number, (city, kind) in enumerate(
            (c, k) for c in "東京大阪京都神戸広島福岡" for k in ("病院", "図書館", "学校")
        )
    ]
    found = match([{"name": row["名称"]} for row in reference], reference, key="code")
    assert pairs(found) == {(number, row["code"]) for number, row in enumerate(reference)}
    accents = match([{"n": "CAFE MUNCHEN"}, {"n": "ECOLE ST JOSE"}], [{"n": "École Saint-José"}, {"n": "Café München"}])
    assert pairs(accents) == {(0, "2"), (1, "1")}


def test_the_result_does_not_depend_on_the_order_of_rows() -> None:
    reference, rows = people(150), as_customers(people(150)[30:110])
    plain = pairs(match(rows, reference))
    assert plain == pairs(match(rows, reference))
    order = list(range(len(rows)))
    dice_of(5).shuffle(order)
    turned = match([rows[number] for number in order], reference[::-1])
    assert {(order[item.left], item.reference_id) for item in turned} == plain


def test_a_threshold_is_a_confidence() -> None:
    reference, rows = people(150), as_customers(people(150)[:60])
    loose, strict = match(rows, reference, threshold=0.05), match(rows, reference, threshold=0.95)
    assert pairs(strict) <= pairs(match(rows, reference)) <= pairs(loose)
    assert all(item.confidence >= 0.95 for item in strict)
    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(BadThreshold):
            match(rows, reference, threshold=wrong)


def test_confirmed_pairs_settle_their_rows_and_teach() -> None:
    reference, rows = people(150), as_customers(people(150)[:60])
    confirmed = [(0, reference[100]["id"]), (1, None)]
    found = {item.left: item for item in match(rows, reference, confirmed=confirmed)}
    assert found[0].reference_id == reference[100]["id"]
    assert found[0].confidence == 1.0
    assert 1 not in found
    with pytest.raises(BadLesson, match="no record"):
        match(rows, reference, confirmed=[(0, "nobody")])
    with pytest.raises(BadLesson, match="no row 60"):
        match(rows, reference, confirmed=[(60, None)])


def test_a_learned_matcher_judges_rows_one_by_one_as_together() -> None:
    reference, rows = people(200), as_customers(people(200)[:80])
    matcher = Matcher().prepare(reference).learn(rows)
    together = pairs(matcher.match(rows))
    single = {(number, item.reference_id) for number, row in enumerate(rows) for item in matcher.match([row])}
    assert len(together ^ single) <= 3


def test_a_matcher_without_a_reference_says_so() -> None:
    with pytest.raises(BadReference):
        Matcher().match([{"a": "b"}])


def test_meaning_finds_what_shares_no_word() -> None:
    topics = {"couch": 0, "sofa": 0, "bicycle": 1, "bike": 1, "automobile": 2, "car": 2, "lamp": 3, "light": 3}
    colours = ["crimson", "azure", "emerald", "amber", "violet", "ivory"]

    def embed(texts: list[str]) -> Any:
        vectors = np.zeros((len(texts), 10))
        for number, text in enumerate(texts):
            for word in text.lower().split():
                if word in topics:
                    vectors[number, topics[word]] = 1
                elif word in colours:
                    vectors[number, 4 + colours.index(word)] = 1
        return vectors

    pairs_of_words = [("couch", "sofa"), ("bicycle", "bike"), ("automobile", "car"), ("lamp", "light")]
    reference = [{"sku": f"{b}-{c}", "name": f"{b} {c}"} for _, b in pairs_of_words for c in colours]
    rows = [{"item": f"{a} {c}"} for a, _ in pairs_of_words for c in colours]
    found = match(rows, reference, key="sku", embed=embed)
    truth = {(number, row["sku"]) for number, row in enumerate(reference)}
    without = match(rows, reference, key="sku")
    assert len(pairs(found) & truth) > len(pairs(without) & truth)
    assert len(pairs(found) - truth) <= 2


def test_places_are_matched_by_distance() -> None:
    dice = dice_of(9)
    spots = [(dice.uniform(50, 51), dice.uniform(8, 9)) for _ in range(120)]
    reference = [
        {
            "id": f"S{n}",
            "name": "Corner Shop" if n % 2 else f"Bakery {LAST[n % 12]}",
            "lat": f"{a:.6f}",
            "lon": f"{b:.6f}",
        }
        for n, (a, b) in enumerate(spots)
    ]
    rows = [
        {"shop": row["name"], "position": f"{float(row['lat']) + 0.0002:.6f}; {float(row['lon']) - 0.0002:.6f}"}
        for row in reference
    ]
    found = match(rows, reference)
    truth = {(number, f"S{number}") for number in range(120)}
    assert len(pairs(found) & truth) >= 110
    assert len(pairs(found) - truth) <= 5
    assert any("m apart" in item.explanation for item in found)
