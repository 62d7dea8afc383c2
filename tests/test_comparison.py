"""Comparisons: what validation chooses, what is kept, what is refused."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from statistics import mean, stdev

import pytest

from surm_lite import cli
from surm_lite.adapters.registry import METHODS, make_method
from surm_lite.comparison import Arm, Comparison, Plan, compare, options_for_budget
from surm_lite.comparison import run as running

ARMS = {
    "head": Arm("linear head", (1e-3, 1e-2), "head", seeds=(0, 1)),
    "circulant": Arm("circulant", (1e-3, 3e-3), "circulant", {"block": 8}, seeds=(0, 1, 2)),
}
PLAN = Plan("digits", ARMS, model="tiny_vit", images=(40, 60), epochs=1)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return folder, compare(PLAN, folder, progress=False)


def test_the_rate_is_chosen_on_validation_and_never_on_test(done):
    _, comparison = done
    assert len(comparison.rows) == PLAN.n_runs == 2 * (3 + 4)
    for one in comparison.summary():
        sweep = {row["lr"]: row for row in comparison.rows if row["arm"] == one.arm and row["images"] == one.images
                 and row["seed"] == 0}  # fmt: skip
        assert one.lr == max(sweep, key=lambda lr: sweep[lr]["validation"])
        assert one.curve == {lr: row["validation"] for lr, row in sweep.items()}
        assert len(one.test) == len(ARMS[one.arm].seeds)
        assert one.test_mean == pytest.approx(mean(one.test))
        assert one.test_std == pytest.approx(stdev(one.test))
    assert [(row["images"], len(row)) for row in comparison.frozen] == [(40, 5), (60, 5)]


def test_a_rate_with_a_worse_test_score_can_be_chosen():
    """Of two rates the better on validation counts, even where the other would have looked better on test."""
    base = {"arm": "a", "label": "a", "method": "head", "images": 10, "equal": True, "trained": 5, "kept": 5,
            "seconds": 1.0, "peak_memory": None, "loss": [], "seed": 0}  # fmt: skip
    rows = [
        base | {"lr": 0.1, "validation": 0.6, "test": 0.9, "chosen": False},
        base | {"lr": 0.2, "validation": 0.7, "test": 0.5, "chosen": True},
    ]
    (one,) = Comparison({}, rows).summary()
    assert (one.lr, one.test_mean, one.test_std, one.at_grid_edge) == (0.2, 0.5, None, True)


def test_kept_runs_are_not_run_again(done, monkeypatch):
    folder, comparison = done
    monkeypatch.setattr(running, "train", None)
    assert compare(PLAN, folder, progress=False).to_json() == comparison.to_json()


def test_only_what_is_missing_is_run(done, tmp_path, monkeypatch):
    folder, comparison = done
    for path in folder.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "circulant-40-lr0.001-seed0.json").unlink()
    calls = []
    original = running.train
    monkeypatch.setattr(running, "train", lambda *args, **options: calls.append(options) or original(*args, **options))
    again = compare(PLAN, tmp_path, progress=False)
    assert [(call["lr"], call["seed"]) for call in calls] == [(1e-3, 0)]
    assert [row["loss"] for row in again.rows] == [row["loss"] for row in comparison.rows]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (replace(PLAN, epochs=2), "was run with epochs = 1, and the plan says 2"),
        (replace(PLAN, arms=ARMS | {"circulant": replace(ARMS["circulant"], options={"block": 4})}), "options"),
    ],
)
def test_runs_of_another_plan_are_refused(done, plan, said):
    with pytest.raises(ValueError, match=said):
        compare(plan, done[0], progress=False)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"words"'])
def test_a_file_that_is_no_run_is_refused_by_name(tmp_path, content):
    (tmp_path / "head-40-lr0.001-seed0.json").write_text(content)
    with pytest.raises(ValueError, match=r"head-40-lr0\.001-seed0\.json is not a kept run"):
        compare(replace(PLAN, frozen=False), tmp_path, progress=False)


def test_a_diverged_rate_is_a_result(tmp_path, monkeypatch):
    original = running.train

    def stumble(*args, lr, **options):
        if lr > 2e-3:
            raise FloatingPointError("loss: is nan at step 3")
        return original(*args, lr=lr, **options)

    monkeypatch.setattr(running, "train", stumble)
    plan = replace(PLAN, arms={"circulant": ARMS["circulant"]}, images=(40,), frozen=False)
    comparison = compare(plan, tmp_path, progress=False)
    assert [row["diverged"] for row in comparison.rows].count("loss: is nan at step 3") == 1
    (one,) = comparison.summary()
    assert one.lr == 1e-3
    assert one.curve[3e-3] is None
    hopeless = replace(plan, arms={"all": replace(ARMS["circulant"], lrs=(0.1,))})
    assert compare(hopeless, tmp_path, progress=False).summary() == []


def test_small_sets_are_passed_over_until_they_have_their_steps():
    plan = replace(PLAN, epochs=4, min_steps=32, batch_size=32)
    assert [plan.passes(n) for n in (20, 100, 300, 1000)] == [32, 8, 4, 4]


def test_round_trip_and_table(done, tmp_path):
    _, comparison = done
    path = tmp_path / "comparison.json"
    comparison.to_json(path)
    assert Comparison.from_json(path) == comparison
    table = list(csv.DictReader(io.StringIO(comparison.to_csv())))
    assert len(table) == PLAN.n_runs
    assert {row["trained"] for row in table if row["arm"] == "head"} == {"1290"}
    assert {"device", "versions", "seconds", "peak_memory", "stored", "deployed"} <= set(table[0])
    printed = str(comparison)
    assert printed.count("linear head") == 2
    assert "frozen: linear probe" in printed
    with pytest.raises(ValueError, match="is not a comparison"):
        Comparison.from_json(json.dumps({"rows": []}))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("m", "n"), [(384, 384), (96, 64), (7, 7)])
def test_a_budget_is_spent_but_never_passed(method, m, n):
    counts = []
    for budget in sorted({m + n, 2 * (m + n), 4 * (m + n), m * n}):
        try:
            options = options_for_budget(method, m, n, budget)
        except ValueError as error:
            assert "the smallest" in str(error)  # noqa: PT017 (methods differ in what they can say)
            continue
        counts.append(make_method(method, options).n_params(m, n))
        assert counts[-1] <= budget
    assert counts == sorted(counts)
    assert counts


def test_a_budget_that_no_option_meets_is_named():
    with pytest.raises(ValueError, match="budget: got 700 numbers a layer; the smallest toeplitz update of 384 x 384"):
        options_for_budget("toeplitz", 384, 384, 700)


def test_command_line(tmp_path, capsys):
    words = ["compare", "--methods", "head,lora", "--budgets", "256,512", "--data", "digits", "--model", "tiny_vit"]
    words += ["--images", "40", "--seeds", "0,1", "--epochs", "1", "--lrs", "1e-3", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "6 runs" in said
    assert "lora rank=2" in said
    assert "<svg" in (tmp_path / "accuracy.svg").read_text()
    assert cli.main(["compare", "--show", str(tmp_path)]) == 0
    assert "lora rank=2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs either --plan or --methods"),
        (["--plan", "low_dat"], "did you mean 'low_data'"),
        (["--methods", "lora,toeplits"], "toeplitz"),
        (["--methods", "lora", "--budgets", "many"], "--budgets: got 'many'"),
        (["--methods", "lora", "--targets", "mlp.*"], "need one size"),
        (["--methods", "toeplitz", "--budgets", "100", "--model", "tiny_vit"], "the smallest toeplitz update"),
        (["--methods", "lora", "--lrs", "-1", "--model", "tiny_vit"], "need positive rates"),
        (["--show", "nowhere.json"], "does not exist"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(words, said, capsys):
    assert cli.main(["compare", *words]) == 2
    assert said in capsys.readouterr().err
