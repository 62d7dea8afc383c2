"""Comparisons: what validation chooses, what is kept, what is refused."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from dataclasses import replace
from functools import partial
from statistics import mean, stdev

import pytest
import torch

from surm_lite.adapters import count, trainable_parameters
from surm_lite.adapters.methods.registry import METHODS, make_method
from surm_lite.commands import main as cli
from surm_lite.comparison import Arm, Comparison, Plan, compare, options_for_budget
from surm_lite.comparison import run as running
from surm_lite.comparison.result import row
from surm_lite.data import load
from surm_lite.files import seal, unseal
from surm_lite.training.record import Record

ARMS = {
    "head": Arm("linear head", (1e-3, 1e-2), "head", seeds=(0, 1)),
    "circulant": Arm("circulant", (1e-3, 3e-3), "circulant", {"block": 8}, seeds=(0, 1, 2)),
}
PLAN = Plan("digits", ARMS, model="tiny_vit", examples=(40, 60), epochs=1)


@pytest.fixture(scope="module", autouse=True)
def small_parts():
    """Comparisons here judge by a few pictures: most of their time would go into judging."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running.data_sets, "load", partial(running.data_sets.load, validation=70, test=50))
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return folder, compare(PLAN, folder, progress=False)


def test_the_rate_is_chosen_on_validation_and_never_on_test(done):
    _, comparison = done
    assert len(comparison.rows) == PLAN.n_runs == 2 * (3 + 4)
    for one in comparison.summary():
        sweep = {row["lr"]: row for row in comparison.rows if row["arm"] == one.arm and row["examples"] == one.examples
                 and row["seed"] == 0}  # fmt: skip
        assert one.lr == max(sweep, key=lambda lr: sweep[lr]["validation"])
        assert one.curve == {lr: row["validation"] for lr, row in sweep.items()}
        assert len(one.test) == len(ARMS[one.arm].seeds)
        assert one.test_mean == pytest.approx(mean(one.test))
        assert one.test_std == pytest.approx(stdev(one.test))
    assert [(row["examples"], len(row)) for row in comparison.frozen] == [(40, 5), (60, 5)]


@pytest.mark.slow
def test_the_rate_is_chosen_where_validation_and_test_disagree(tmp_path, monkeypatch):
    validation, test = {1e-3: 0.6, 3e-3: 0.7}, {1e-3: 0.9, 3e-3: 0.5}
    trained = []

    def told(model, data, *, lr, seed, epochs, **options):
        trained.append((lr, seed))
        counted = dict.fromkeys(("trained", "kept", "stored", "deployed"), 7)
        return Record({}, [], {}, "cpu", parameters=counted, loss=[1.0], validation_score={epochs: validation[lr]},
                      test_score=test[lr])  # fmt: skip

    monkeypatch.setattr(running, "train", told)
    plan = replace(PLAN, arms={"circulant": ARMS["circulant"]}, examples=(40,), frozen=False)
    (one,) = compare(plan, tmp_path, progress=False).summary()
    assert (one.lr, one.test, one.validation) == (3e-3, [0.5] * 3, [0.7] * 3)
    assert trained == [(1e-3, 0), (3e-3, 0), (3e-3, 1), (3e-3, 2)]


def test_the_rates_of_an_arm_that_trains_the_head_alone_are_those_of_the_head(done):
    _, comparison = done
    slow, fast = (row for row in comparison.rows if (row["arm"], row["examples"], row["seed"]) == ("head", 40, 0))
    assert (slow["lr"], fast["lr"]) == (1e-3, 1e-2)
    assert slow["loss"][0] == fast["loss"][0]
    assert slow["loss"][1] != fast["loss"][1]


def test_trained_numbers_leave_out_what_is_kept_for_every_method(done):
    _, comparison = done
    trained = {one.arm: one.trained for one in comparison.summary()}
    assert trained == {"head": 0, "circulant": 18 * 128 * 128 // 8}
    digits = load("digits", train=40)
    arms = {
        "full": Arm("full", (1e-3,), "full"),
        "more": Arm("head and norms", (1e-3,), "circulant", {"block": 128}, keep=("head", "norm")),
    }
    plan = replace(PLAN, arms=arms)
    counted = {name: count(plan.build(name, digits)) for name in arms}
    assert counted["full"].trained == counted["full"].base == 805_130
    assert counted["full"].kept == 1290  # 128 x 10 and 10
    assert counted["more"].kept == 1290 + 2 * 128
    assert counted["more"].trained - counted["more"].kept == 18 * 128


@pytest.mark.slow
def test_a_method_that_looks_at_data_sees_the_training_part_alone():
    digits = load("digits", train=64)
    other = replace(digits, validation=load("digits", seed=1).test, test=load("digits", seed=1).validation)
    plan = replace(PLAN, arms={"gora": Arm("GoRA", (1e-3,), "gora", {"rank": 2, "rank_min": 1})})
    one, two, three = (
        trainable_parameters(plan.build("gora", data)) for data in (digits, other, load("digits", train=64, seed=1))
    )
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_a_rate_with_a_worse_test_score_can_be_chosen():
    """Of two rates the better on validation counts, even where the other would have looked better on test."""
    base = {"arm": "a", "label": "a", "method": "head", "examples": 10, "equal": True, "trained": 5, "kept": 5,
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


def of_arm(**changes):
    return replace(PLAN, arms=ARMS | {"circulant": replace(ARMS["circulant"], **changes)})


OTHERS = {
    "data": replace(PLAN, data="mnist5k"),
    "model": replace(PLAN, model="vit_s14"),
    "epochs": replace(PLAN, epochs=2),
    "min_steps": replace(PLAN, min_steps=3),
    "batch_size": replace(PLAN, batch_size=16),
    "head_lr": replace(PLAN, head_lr=1e-3),
    "precision": replace(PLAN, precision="bfloat16"),
    "method": of_arm(method="toeplitz", options={}),
    "pretrained": of_arm(pretrained=False),
    "options": of_arm(options={"block": 4}),
    "targets": of_arm(targets=("q_proj",)),
    "keep": of_arm(keep=("head",)),
    # a file is found by what its name says; one whose settings disagree with it was moved there
    "examples": PLAN,
    "lr": PLAN,
    "seed": PLAN,
}


def test_every_setting_is_held_against_a_kept_run():
    assert set(OTHERS) == set(PLAN.settings("circulant", 40, 1e-3, 0))


@pytest.mark.parametrize("key", OTHERS)
def test_a_kept_run_with_another_setting_is_refused(key, done):
    path = done[0] / "circulant-40-lr0.001-seed0.json"
    now = OTHERS[key].settings("circulant", 40, 1e-3, 0)
    if OTHERS[key] is PLAN:
        now[key] = 60
    then = PLAN.settings("circulant", 40, 1e-3, 0)
    assert {name for name in now if now[name] != then[name]} - {"options"} == {key} - {"options"}
    running._kept(path, then, dict)
    with pytest.raises(ValueError, match=r"circulant-40-lr0\.001-seed0\.json was run with") as refused:
        running._kept(path, now, dict)
    assert key == "method" or f"with {key} = {then[key]!r}, and the plan says {now[key]!r}" in str(refused.value)


def test_runs_of_another_plan_are_refused(done):
    with pytest.raises(ValueError, match="was run with epochs = 1, and the plan says 2"):
        compare(replace(PLAN, epochs=2), done[0], progress=False)


def test_a_kept_file_with_anything_changed_is_refused_by_name(done, tmp_path):
    folder, comparison = done
    comparison.to_json(tmp_path / "comparison.json")
    chance = random.Random(0)
    for path in (folder / "circulant-40-lr0.001-seed0.json", folder / "frozen-40.json", tmp_path / "comparison.json"):
        text = path.read_text()
        then = json.loads(text).get("settings")
        for at in chance.sample([k for k, letter in enumerate(text) if letter.isdigit()], 20):
            changed = text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]
            copy = tmp_path / path.name
            copy.write_text(changed)
            read = Comparison.from_json if path.parent == tmp_path else partial(running._kept, settings=then, read=dict)
            with pytest.raises(ValueError, match=re.escape(str(copy))):
                read(copy)


@pytest.mark.parametrize(
    "key", ["settings", "record", "diverged", "settings.method", "record.parameters", "record.data"]
)
def test_a_kept_run_without_a_key_is_refused_by_name(key, done, tmp_path):
    """As another version may have written it, its digest right."""
    made = unseal((done[0] / "head-40-lr0.001-seed0.json").read_text())
    inside = made
    *above, last = key.split(".")
    for name in above:
        inside = inside[name]
    del inside[last]
    (tmp_path / "head-40-lr0.001-seed0.json").write_text(seal(json.dumps(made)))
    with pytest.raises(ValueError, match=r"head-40-lr0\.001-seed0\.json (is not a kept run|was run with)"):
        compare(replace(PLAN, frozen=False), tmp_path, progress=False)


@pytest.mark.parametrize("key", ["about", "rows", "frozen", "arm", "lr", "chosen", "test", "trained", "kept", "knn"])
def test_a_comparison_without_a_key_is_refused_by_name(key, done, tmp_path):
    content = unseal(done[1].to_json())
    for part in (content, *content["rows"], *content["frozen"]):
        part.pop(key, None)
    path = tmp_path / "comparison.json"
    path.write_text(seal(json.dumps(content)))
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} is not a comparison.*{key}"):
        Comparison.from_json(path)
    path.write_text(json.dumps(unseal(done[1].to_json())))
    with pytest.raises(ValueError, match=r"comparison\.json is not a comparison as it was written \(has no digest"):
        Comparison.from_json(path)
    with pytest.raises(ValueError, match=re.escape("pass Path('comparison.json')")):
        Comparison.from_json("comparison.json")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"words"'])
def test_a_file_that_is_no_run_is_refused_by_name(tmp_path, content):
    (tmp_path / "head-40-lr0.001-seed0.json").write_text(content)
    with pytest.raises(ValueError, match=r"head-40-lr0\.001-seed0\.json is not a kept run"):
        compare(replace(PLAN, frozen=False), tmp_path, progress=False)


@pytest.mark.slow
def test_a_diverged_rate_is_a_result(tmp_path, monkeypatch):
    original = running.train

    def stumble(*args, lr, **options):
        if lr > 2e-3:
            raise FloatingPointError("loss: is nan at step 3")
        return original(*args, lr=lr, **options)

    monkeypatch.setattr(running, "train", stumble)
    plan = replace(PLAN, arms={"circulant": ARMS["circulant"]}, examples=(40,), frozen=False)
    comparison = compare(plan, tmp_path, progress=False)
    assert [row["diverged"] for row in comparison.rows].count("loss: is nan at step 3") == 1
    (one,) = comparison.summary()
    assert one.lr == 1e-3
    assert one.curve[3e-3] is None
    hopeless = replace(plan, arms={"all": replace(ARMS["circulant"], lrs=(0.1,))})
    assert compare(hopeless, tmp_path, progress=False).summary() == []


def test_the_row_of_a_diverged_run_has_its_scores_empty():
    arm = ARMS["circulant"]
    settings = dict.fromkeys(("method", "options", "targets", "keep", "pretrained", "lr", "seed"), "as asked")
    found = row("circulant", arm, {"settings": settings, "record": None, "diverged": "loss: is nan at step 3"})
    assert found == settings | {
        "arm": "circulant", "label": arm.label, "equal": arm.equal, "diverged": "loss: is nan at step 3",
        "validation": None, "test": None, "loss": [],
    }  # fmt: skip


def test_small_sets_are_passed_over_until_they_have_their_steps():
    plan = replace(PLAN, epochs=4, min_steps=32, batch_size=32)
    assert [plan.passes(n) for n in (20, 100, 300, 1000)] == [32, 8, 4, 4]
    # 33 examples make 2 steps a pass, and 5 steps need two and a half passes: three
    assert replace(PLAN, epochs=1, min_steps=5, batch_size=32).passes(33) == 3


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
    assert printed.count("linear head") == 4
    first, second = printed.split("\n\n")
    head, *lines = (re.split(r"  +", line) for line in first.splitlines())
    assert head == ["method", "examples", "trained", "lr", "validation", "test", "+-", "seeds", "seconds"]
    for line, one in zip(lines, comparison.summary()):
        assert line[:3] == [one.label, str(one.examples), f"{one.trained:,}"]
        assert line[4:8] == [
            f"{mean(one.validation):.3f}", f"{mean(one.test):.3f}", f"{stdev(one.test):.3f}", str(len(one.seeds))
        ]  # fmt: skip
    assert "frozen: linear probe" in first
    for line, one in zip(second.splitlines()[1:], comparison.summary(), strict=True):
        assert re.split(r"  +", line) == [
            one.label, str(one.examples), f"{one.step_seconds * 1e3:.0f}", f"{one.file_bytes / 1e3:.0f}",
            f"{one.tensor_bytes / 1e6:.0f}", f"{one.deployed:+,.0f}", f"{one.rank:.1f}", f"{one.effective_rank:.1f}",
        ]  # fmt: skip
    with pytest.raises(ValueError, match="is not a comparison"):
        Comparison.from_json(json.dumps({"rows": []}))


@pytest.mark.thin(60)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("m", "n"), [(384, 384), (96, 64), (7, 7)])
def test_a_budget_is_spent_but_never_passed(method, m, n):
    counts = []
    for budget in sorted({m + n, 2 * (m + n), 4 * (m + n), m * n, m * (m + n)}):
        try:
            options = options_for_budget(method, m, n, budget)
        except ValueError as error:
            assert "the smallest" in str(error)  # noqa: PT017 (methods differ in what they can say)
            continue
        counts.append(make_method(method, options).n_params(m, n))
        assert counts[-1] <= budget
    assert counts == sorted(counts)
    assert counts


def test_one_candidate_that_does_not_fit_leaves_the_others(monkeypatch):
    def sizes(self, m, n):
        yield from ({"rank": 1}, {"rank": 0}, {"rank": -3}, {"rank": 2})

    monkeypatch.setattr(METHODS["lora"], "sizes", sizes)
    assert options_for_budget("lora", 8, 8, 100) == {"rank": 2}
    assert options_for_budget("lora", 8, 8, 31) == {"rank": 1}


def test_a_budget_that_no_option_meets_is_named():
    with pytest.raises(ValueError, match="budget: got 700 numbers a layer; the smallest toeplitz update of 384 x 384"):
        options_for_budget("toeplitz", 384, 384, 700)


@pytest.mark.slow
def test_command_line(tmp_path, capsys):
    words = ["compare", "--methods", "head,lora", "--budgets", "256,512", "--data", "digits", "--model", "tiny_vit"]
    words += ["--examples", "40", "--seeds", "0,1", "--epochs", "1", "--lrs", "1e-3", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "6 runs" in said
    assert "lora rank=2" in said
    assert "<svg" in (tmp_path / "scores.svg").read_text()
    assert cli.main(["compare", "--show", str(tmp_path)]) == 0
    assert "lora rank=2" in capsys.readouterr().out


@pytest.mark.slow
def test_sizes_that_are_the_same_are_refused(tmp_path):
    with pytest.raises(ValueError, match="None and 1000 are both 1000, the whole training part"):
        compare(replace(PLAN, examples=(None, 1000), arms={"one": Arm("a", (1e-3,), "head", seeds=(0,))}, frozen=False,
                        batch_size=500), tmp_path, progress=False)  # fmt: skip


@pytest.mark.parametrize("changed", [{"examples": (40, 5000)}, {"examples": (40, 41, 5000), "frozen": True}])
def test_a_comparison_that_is_refused_leaves_no_folder(changed, tmp_path):
    """A folder made before all sizes are read, or a frozen measure of the first of them, would stay."""
    with pytest.raises(ValueError, match="but digits has"):
        compare(replace(PLAN, **changed), tmp_path / "runs" / "new", progress=False)
    arms = {"one": Arm("a", (1e-3,), "lora"), "two": Arm("b", (1e-3,), "full", targets=("nosuch",))}
    with pytest.raises(ValueError, match="arms: two: unknown targets pattern"):
        compare(replace(PLAN, arms=arms, frozen=True), tmp_path / "runs", progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_fewer_examples_than_neighbours_are_compared_all_the_same(tmp_path, capsys):
    words = ["compare", "--methods", "head", "--data", "digits", "--model", "tiny_vit", "--examples", "15"]
    assert cli.main([*words, "--seeds", "0", "--epochs", "1", "--lrs", "1e-3", "--out", str(tmp_path)]) == 0
    assert "frozen: nearest neighbours" in capsys.readouterr().out


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
        (["--methods", "lora", "--lrs", "1e-3,nan", "--model", "tiny_vit"], "need positive rates"),
        (["--methods", "lora", "--budgets", "0", "--model", "tiny_vit"], "budget: got 0 numbers a layer; the smallest"),
        (["--methods", "head", "--budgets", "9"], "--budgets: got 9, but head spends none on a layer"),
        (["--methods", "head", "--batch-size", "0"], "batch_size: got 0"),
        (["--methods", "head", "--head-lr", "0"], "--head-lr: got 0.0, need a positive number"),
        (["--methods", "head", "--epochs", "-1"], "epochs: got -1"),
        (["--methods", "head", "--min-steps", "-1"], "min_steps: got -1"),
        (["--methods", "head", "--precision", "half"], "precision: got 'half'"),
        (["--methods", "head", "--data", "digit"], "unknown data set 'digit'; did you mean 'digits'"),
        (["--methods", "head", "--data", "pets", "--model", "tiny"], "unknown model 'tiny'; did you mean 'tiny_vit'"),
        (["--methods", "head", "--examples", "40,40"], "examples: got (40, 40), need at least one size and none twice"),
        (["--methods", "head", "--seeds", "1" + 23 * "0"], "need a whole number below 2**42"),
        (["--methods", "head", "--device", "quantum"], "device: got 'quantum'"),
        (["--methods", "head", "--figure", "x.doc"], "--figure: got 'x.doc', need a name that ends in .svg"),
        (["--method", "head"], "unknown argument '--method'; did you mean '--methods'"),
        (["--methods", "nested"], "unknown method 'nested'; known: 'lora'"),
        (["--plan", ""], "unknown plan ''; known: 'finetune_mnist5k'"),
        (["--plan", "low_data", "--epochs", "1"], "--epochs: plan 'low_data' says it; leave it out"),
        (["--show", ".", "--methods", "head"], "--methods: --show runs nothing; leave it out"),
        (["--show", "nowhere.json"], "does not exist"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    assert cli.main(["compare", *words]) == 2
    assert said in capsys.readouterr().err
