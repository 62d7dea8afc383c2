"""What a visitor reads first, against formulas: no view of the book is involved."""

import itertools
import json

from explorables import read_all


def test_the_explorable_against_closed_forms(server, visit):
    formulas = {  # family -> numbers, rank, displacement rank
        "dense": lambda n: (n * n, n, n),
        "rank one": lambda n: (2 * n, 1, 2),
        "circulant": lambda n: (n, n, 1),
        "skew-circulant": lambda n: (n, n, 1),
        "Toeplitz": lambda n: (2 * n - 1, n, 2),
    }
    tab = visit(server)
    tab.page.goto(f"{server}index.html")
    form = tab.page.locator("form.surm-explore").first
    sizes = [int(text) for text in json.loads(form.locator("input[type=range]").get_attribute("data-shown"))]
    families = form.locator("fieldset span").all_inner_texts()
    frames = iter(read_all(form))
    for family, n in itertools.product(families, sizes):
        shown = tuple(int(text.replace(",", "")) for _, text in next(frames)["numbers"])
        assert family not in formulas or shown == formulas[family](n), f"{family}, n = {n}"
    assert set(formulas) < set(families)
