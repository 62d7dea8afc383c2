"""Every method on every kind of model that people have: transformers' vision and text, fused and split qkv."""

import copy

import pytest
import torch
import torch.nn.functional as F
from adapter_cases import READY, each
from real_models import HF, KINDS, TARGETS, answer, each_kind, folder, inputs, linears, move, real
from torch import nn

import surm_lite as sl
from surm_lite import models
from surm_lite.adapters import METHODS
from surm_lite.adapters.attached import adapters_of
from surm_lite.evaluate import accuracy

each_method = each([(name, {}) for name in READY])
BASES = {}


def base(kind):
    """A copy of the model; the folder is read once."""
    if kind not in BASES:
        BASES[kind] = real(kind)
    return copy.deepcopy(BASES[kind])


def adapted(kind, case, moved=True):
    model = sl.adapt(base(kind), case[0], TARGETS[kind], **case[1])
    if moved:
        for adapter in adapters_of(model).values():
            adapter.method.stir(adapter, torch.Generator().manual_seed(1))  # a ramp too
        move(sl.trainable_parameters(model))
    return model


@pytest.mark.thin(12)
@each_kind
@each_method
def test_starts_as_the_model_it_was(kind, case):
    model = adapted(kind, case, moved=False)
    assert torch.equal(answer(model, kind), answer(base(kind), kind)) == METHODS[case[0]].exact_at_init
    assert {METHODS[case[0]].name} == {a.method.name for a in adapters_of(model).values()}


@pytest.mark.thin(12)
@each_kind
@each_method
def test_merged_is_unmerged(kind, case):
    model = adapted(kind, case)
    live = answer(model, kind)
    assert (live - answer(base(kind), kind)).abs().max() > 1e-3, "the update does something"
    if not METHODS[case[0]].mergeable:
        with pytest.raises(ValueError, match="cannot be merged"):
            sl.merge(model)
        return
    merged = answer(sl.merge(model), kind)
    assert linears(model) == linears(base(kind))
    assert model.state_dict().keys() == base(kind).state_dict().keys()
    torch.testing.assert_close(merged, live, rtol=1e-5, atol=1e-5)
    assert torch.equal(answer(sl.unmerge(model), kind), live)


@pytest.mark.thin(12)
@each_kind
@each_method
def test_adapter_file(kind, case, tmp_path):
    model = adapted(kind, case)
    sl.save_adapter(model, tmp_path / "adapter.safetensors")
    again = sl.load_adapter(base(kind), tmp_path / "adapter.safetensors")
    assert torch.equal(answer(again, kind), answer(model, kind))
    assert sl.count(again) == sl.count(model)


@pytest.mark.thin(12)
@each_kind
@each_method
def test_everything_learns(kind, case):
    """After two steps every trained number that can have moved has, and nothing that is frozen."""
    model = adapted(kind, case, moved=False).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(sl.trainable_parameters(model), lr=1e-2)
    for _ in range(3):
        out = model(**inputs(kind))
        out = out if isinstance(out, torch.Tensor) else out["logits" if "logits" in out else "pooler_output"]
        loss = F.cross_entropy(out, torch.tensor([0, 1, 2, 0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) != p.requires_grad, name


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "dinov2 backbone"])
def test_default_targets_and_head(kind):
    model = sl.adapt(base(kind), "toeplitz")
    head = "classifier" if kind in HF else "head"
    kept = {n for n, p in model.named_parameters() if p.requires_grad and "column" not in n and "row" not in n}
    assert kept == {f"{head}.weight", f"{head}.bias"}
    assert len(adapters_of(model)) == (2 if kind == "fused qkv" else 6)


@each_kind
def test_by_predicate(kind):
    square = sl.adapt(base(kind), "circulant", lambda name, layer: layer.in_features == layer.out_features == 16)
    found = adapters_of(square)
    assert found
    assert all(a.in_features == a.out_features == 16 for a in found.values())


@pytest.mark.parametrize("kind", HF)
def test_a_merged_model_is_saved_the_usual_way(kind, tmp_path):
    """`sl.merge`, then transformers' own `save_pretrained` and `from_pretrained`: nothing of ours is left."""
    model = sl.merge(adapted(kind, ("toeplitz", {})))
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert torch.equal(answer(again, kind), answer(model, kind))
    assert not adapters_of(again)


def test_distilbert_by_its_own_names():
    transformers = pytest.importorskip("transformers", reason="needs the extra [hf]")
    config = transformers.DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    model = sl.adapt(transformers.DistilBertForSequenceClassification(config), "ldr")
    assert [n.rpartition(".")[2] for n in adapters_of(model)] == ["q_lin", "k_lin", "v_lin"]


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_train_a_model_of_transformers(kind, tmp_path):
    digits = sl.data.load("digits", train=48, validation=20, test=20)
    import transformers

    torch.manual_seed(0)  # the new classifier
    model = type(base(kind)).from_pretrained(folder(kind), num_labels=10, ignore_mismatched_sizes=True)
    assert isinstance(model, transformers.PreTrainedModel)
    sl.adapt(model, "circulant")
    net = models.logits(model, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert net.image_format == (16, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert net.head is model.classifier
    record = sl.train(net, digits, epochs=15, lr=3e-2, batch_size=16, device="cpu", progress=False)
    assert record.train_score[-1] > record.train_score[0] + 0.2
    sl.save_adapter(model, tmp_path / "a.safetensors")
    fresh = type(model).from_pretrained(folder(kind), num_labels=10, ignore_mismatched_sizes=True)
    sl.load_adapter(fresh, tmp_path / "a.safetensors")
    assert accuracy(models.logits(fresh, mean=net.image_format.mean, std=net.image_format.std), digits.test) == (
        record.test_score
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mean": (0.5,)}, r"mean: got \(0.5,\), need one number for each of 3 channels"),
        ({"std": (0.5, 0.5)}, "std: got"),
    ],
)
def test_logits_refuses(arguments, said):
    with pytest.raises(ValueError, match=said):
        models.logits(base("vit"), **arguments)


def test_logits_refuses_a_model_without_pictures():
    with pytest.raises(ValueError, match="image_size = None"):
        models.logits(base("bert"))
    with pytest.raises(ValueError, match=r"model: Linear.config gives"):
        models.logits(nn.Linear(2, 2))
