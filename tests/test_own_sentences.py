"""Sentences of one's own from a shell: train, look, ask, and what is refused by name."""

import json

import pytest
import torch

import surm_lite as sl
from surm_lite.commands.main import main
from surm_lite.models import TARGETS, apart, minilm, tiny_vit
from surm_lite.models.bert import Bert, BertConfig

GOOD = [f"The {what} was {how}." for what in ("soup", "fish", "bread", "tea") for how in ("lovely", "superb", "warm")]
BAD = [f"The {what} was {how}." for what in ("soup", "fish", "bread", "tea") for how in ("awful", "cold", "burnt")]


def table(path, rows, separator=","):
    path.write_text("\n".join(separator.join(row) for row in [("review", "stars"), *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def reviews(tmp_path):
    return table(tmp_path / "reviews.csv", [(text, "good") for text in GOOD] + [(text, "bad") for text in BAD])


def test_models_of_ours_have_their_layers_apart():
    for name, layers in TARGETS.items():
        if name != "vit_s14":  # as tiny_vit
            model = apart(sl.models.MODELS[name](num_classes=2))
            found = {one.rpartition(".")[2] for one, _ in model.named_modules()}
            assert set(layers) <= found
    fresh = tiny_vit().fresh(torch.Generator().manual_seed(0))
    assert fresh.config == tiny_vit().config
    small = Bert(BertConfig(vocab=9, length=4, width=8, depth=1, heads=2, hidden=8))
    assert not torch.equal(small.fresh(torch.Generator().manual_seed(0)).head.weight, small.head.weight)


def test_from_a_shell(reviews, tmp_path, capsys, monkeypatch):
    """Train, look, ask: what a first user types."""
    monkeypatch.chdir(tmp_path)
    how = ["--text", "review", "--label", "stars", "--model", "minilm", "--method", "circulant", "--device", "cpu"]
    assert main(["train", "--data", "reviews.csv", *how, "--epochs", "2", "--save", "food.safetensors"]) == 0
    said = capsys.readouterr().out
    assert "LabelledSet('reviews': 16 train, 4 validation, 4 test" in said
    assert main(["predict", "food.safetensors", "A splendid, warm evening.", "Burnt.", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found] == ["A splendid, warm evening.", "Burnt."]
    assert {guess["class"] for guess in found[0]["guesses"]} == {"bad", "good"}
    model = sl.load_adapter(minilm(), tmp_path / "food.safetensors")
    (one,) = sl.predict(model, "Burnt.")
    assert one.guesses[0][1] == pytest.approx(found[1]["guesses"][0]["probability"], abs=1e-5)
    assert main(["inspect", "food.safetensors"]) == 0
    assert "minilm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data", "reviews.csv"], "--text and --label name its columns"),
        (["--data", "reviews.csv", "--text", "review", "--label", "stars"], "vit_s14 does not take sentences"),
        (["--data", "digits", "--model", "minilm"], "minilm does not take pictures, and digits holds them"),
        (["--data", "digits", "--text", "review"], "--text: for files of sentences, and digits is none"),
        (["--data", "review.csv", "--model", "minilm"], "there is no folder or file of that name"),
    ],
)
@pytest.mark.parametrize("command", ["train", "compare"])
def test_what_does_not_go_together_is_told_before_loading(reviews, capsys, monkeypatch, words, says, command):
    monkeypatch.chdir(reviews.parent)
    more = ["--methods", "lora"] if command == "compare" else []
    assert main([command, *words, *more]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.usefixtures("own_errors")
def test_a_model_of_sentences_is_asked_in_sentences():
    model = minilm()
    with pytest.raises(TypeError, match=r"sentences\[1\]: got 3"):
        sl.predict(model, ["one", 3])
    with pytest.raises(TypeError, match="need a sentence, or a list of them"):
        sl.predict(model, [])
    assert [one.name for one in sl.predict(model, "Just one.")] == ["Just one."]
    for blank in ("", " \n", "\u200b"):
        with pytest.raises(ValueError, match=r"things: got .*, need a sentence with a word in it"):
            sl.predict(model, ["one", blank], batch_size=1)


def test_a_shell_takes_no_name_of_a_file_for_a_sentence(reviews, tmp_path, capsys, monkeypatch):
    """What answers for pictures would answer here too, about the name."""
    monkeypatch.chdir(tmp_path)
    sl.save_adapter(sl.adapt(minilm(num_classes=2), "head"), "food.safetensors")
    (tmp_path / "pets").mkdir()
    for thing, kind in (("reviews.csv", "file"), ("pets", "folder"), ("./pets/", "folder")):
        assert main(["predict", "food.safetensors", "Warm.", thing, "--device", "cpu"]) == 2
        caught = capsys.readouterr()
        assert caught.err == (
            f"surm-lite: error: things: {thing} is a {kind}, and this model reads sentences; give them in quotes\n"
        )
        assert caught.out == ""
    assert main(["predict", "food.safetensors", "", "--device", "cpu"]) == 2
    assert "things: got '', need a sentence" in capsys.readouterr().err
    assert main(["predict", "food.safetensors", "pets.", "--device", "cpu"]) == 0


@pytest.mark.parametrize("name", ["shift", "flip_and_shift"])
def test_token_ids_are_not_moved_as_pictures_are(name):
    """Without the check the first step says "images: got shape"; a function of one's own may take them."""
    ids, labels = torch.arange(1, 61).reshape(10, 6), ["a", "b"] * 5
    data = sl.data.from_arrays(ids, labels, name="mine")
    model = Bert(BertConfig(vocab=99, length=6, width=8, depth=1, heads=2, hidden=8, num_classes=2))
    with pytest.raises(ValueError, match=rf"^augment: got '{name}', which moves pictures, and mine has torch\.int64"):
        sl.train(model, data, augment=name, progress=False)
    turned = sl.train(model, data, epochs=1, augment=lambda ids, chance: ids.flip(1), progress=False, device="cpu")
    assert len(turned.loss) == 1
