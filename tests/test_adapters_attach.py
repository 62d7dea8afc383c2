"""Which layers are adapted, what is frozen, and what happens to bad requests: nothing."""

from dataclasses import MISSING, fields
from types import SimpleNamespace

import pytest
import torch
from adapter_cases import READY, SMALL, Model, snapshot
from torch import nn

from surm_lite.adapters import METHODS, Method, adapt, adapters_of, merge, methods_of, trainable_parameters, unmerge
from surm_lite.adapters.methods.lora import LoRA


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model()


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (None, ["blocks.0.qkv", "blocks.1.qkv", "blocks.2.qkv"]),
        ("fc2", ["blocks.0.fc2", "blocks.1.fc2", "blocks.2.fc2"]),
        (("1.qkv", "fc1"), ["blocks.0.fc1", "blocks.1.qkv", "blocks.1.fc1", "blocks.2.fc1"]),
        (["blocks.0.*"], ["blocks.0.qkv", "blocks.0.proj", "blocks.0.fc1", "blocks.0.fc2"]),
        ("blocks.[12].fc?", ["blocks.1.fc1", "blocks.1.fc2", "blocks.2.fc1", "blocks.2.fc2"]),
        (lambda name, m: m.out_features == 24 and "2" in name, ["blocks.2.qkv"]),
    ],
)
def test_targets(model, targets, names):
    assert adapt(model, "toeplitz", targets) is model
    assert list(adapters_of(model)) == names


def test_all_linear_layers_but_the_kept_head(model):
    adapt(model, "lora", "*")
    assert len(adapters_of(model)) == 12
    assert type(model.head) is nn.Linear


def test_keep_nothing_and_adapt_the_head(model):
    adapt(model, "lora", "head", keep=())
    assert list(adapters_of(model)) == ["head"]
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"head.A", "head.B"}


def test_what_is_frozen(model):
    adapt(model, "circulant", "proj")
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"blocks.{k}.proj.kernel" for k in range(3)} | {"head.weight", "head.bias"}
    assert {id(p) for p in trainable_parameters(model)} == {id(p) for p in model.parameters() if p.requires_grad}


def test_keep_names_modules_and_parameters(model):
    adapt(model, "circulant", "proj", keep=("norm", "blocks.2.fc1", "qkv.bias"))
    trained = {n for n, p in model.named_parameters() if p.requires_grad and "proj" not in n}
    per_block = {f"blocks.{k}.{n}" for k in range(3) for n in ("norm.weight", "norm.bias", "qkv.bias")}
    assert trained == per_block | {"blocks.2.fc1.weight", "blocks.2.fc1.bias"}


def test_the_bias_of_an_adapted_layer_can_be_kept(model):
    adapt(model, "circulant", "qkv", keep="qkv.bias")
    biases = {f"blocks.{k}.qkv.base_layer.bias" for k in range(3)}
    assert {n for n, p in model.named_parameters() if p.requires_grad and "kernel" not in n} == biases
    adapt(model, "toeplitz", "qkv", keep="qkv.bias")  # once more, now that the layer is an adapter
    assert {n for n, p in model.named_parameters() if p.requires_grad and n.endswith("bias")} == {
        n.replace("base_layer", "base_layer.base_layer") for n in biases
    }


def test_a_second_method_leaves_the_first_in_training(model):
    adapt(adapt(model, "lora", "qkv", rank=2), "toeplitz", ("qkv", "proj"))
    assert [m.name for m in methods_of(model)] == ["lora", "toeplitz"]
    assert [a.method.name for a in model.blocks[0].qkv.stack()] == ["lora", "toeplitz"]
    assert len(trainable_parameters(model)) == 3 * (2 + 2 + 2) + 2
    assert set(methods_of(model)[1].layers) == {f"blocks.{k}.{n}" for k in range(3) for n in ("qkv", "proj")}


def test_a_method_object_is_copied():
    method = LoRA(rank=2)
    models = [nn.Sequential(nn.Linear(4, 4)) for _ in range(2)]
    for model in models:
        adapt(model, method, "0")
    assert methods_of(models[0]) == methods_of(models[1]) == [method]
    assert methods_of(models[0])[0] is not methods_of(models[1])[0]
    assert not method.layers


BAD = [
    (("lroa", "qkv"), {}, r"unknown method 'lroa'; did you mean 'lora'"),
    (("no such thing", "qkv"), {}, r"unknown method 'no such thing'; known: 'lora'"),
    (("lora", "qkv"), {"rnak": 4}, r"unknown option of method 'lora' 'rnak'; did you mean 'rank'"),
    (("toeplitz", "qkv"), {"rank": 4}, r"unknown option of method 'toeplitz' 'rank'; known: 'alpha'"),
    (("lora", "qkv"), {"rank": 0}, "rank of method 'lora' is 0"),
    (("lora", "qkv"), {"rank": 2.0}, "rank of method 'lora' is 2.0"),
    (("lora", "qkv"), {"rank": True}, "rank of method 'lora' is True"),
    (("lora", "qkv"), {"alpha": float("nan")}, "alpha of method 'lora' is nan"),
    (("lora", "qkv"), {"rslora": 1}, "rslora of method 'lora' is 1"),
    (("circulant", "*"), {"block": 8}, None),  # fits every layer: the good twin of the next line
    (("circulant", "*"), {"block": 16}, r"blocks.0.qkv: block is 16; it must divide both sides of the 24 x 8 layer"),
    (("kronecker", "qkv"), {"a_shape": (5, 1)}, r"a_shape is \(5, 1\); it must divide \(24, 8\)"),
    (("kronecker", "qkv"), {"a_shape": [5, 1]}, "must be two integers"),
    (("bottleneck", "qkv"), {"structure": "teoplitz"}, "did you mean 'toeplitz', 'symmetric_toeplitz'"),
    (("bottleneck", "qkv"), {"activation": "relu"}, "'relu' .its slope at 0 is 0, .* must be 'gelu'"),
    (("lora", "qvk"), {}, r"unknown targets pattern 'qvk'; did you mean 'qkv'"),
    (("lora", ("qkv", "porj")), {}, r"unknown targets pattern 'porj'; did you mean 'proj'"),
    (("lora", "kv"), {}, "unknown targets pattern 'kv'; did you mean 'qkv'"),  # whole components only
    (("lora", "blocks.0"), {}, r"'blocks.0' matches 'blocks.0' \(Block\), which cannot be adapted"),
    (("lora", "embed"), {}, r"'embed' matches 'embed' \(Conv2d\), which cannot be adapted"),
    (("lora", "head"), {}, r"'head' matches 'head' \(Linear\), which is kept whole"),
    (("lora", lambda name, module: False), {}, "accepts none of the 12 linear layers"),
    (("lora", "qkv"), {"keep": "haed"}, "unknown keep pattern 'haed'; did you mean 'head'"),
    ((LoRA(), "qkv"), {"rank": 2}, r"options \['rank'\] go into the Method object"),
]


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(("args", "options", "message"), BAD)
def test_bad_requests_change_nothing(model, args, options, message):
    before = snapshot(model)
    if message is None:
        adapt(model, *args, **options)
        return
    with pytest.raises(ValueError, match=message):
        adapt(model, *args, **options)
    assert snapshot(model) == before


@pytest.mark.parametrize("name", METHODS)
def test_every_method_refuses_a_misspelt_option(model, name):
    before = snapshot(model)
    with pytest.raises(ValueError, match=f"unknown option of method '{name}' 'rnk'"):
        adapt(model, name, "qkv", rnk=1)
    assert snapshot(model) == before


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"targets": (1, 2)}, "targets is"),
        ({"keep": (1,)}, "keep is"),
        ({"seed": 0.5}, "seed is"),
        ({"seed": True}, "seed"),
    ],
)
def test_wrong_types(model, kwargs, message):
    with pytest.raises(TypeError, match=message):
        adapt(model, "lora", **kwargs)


def test_no_default_target():
    with pytest.raises(ValueError, match=r"no linear layer is named qkv, .*; pass targets=..., for example '0', '2'"):
        adapt(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), "lora")


def test_a_bare_linear_layer_cannot_be_replaced_in_place():
    with pytest.raises(ValueError, match=r"model is itself a linear layer.*nn.Sequential"):
        adapt(nn.Linear(4, 4), "lora", "*")


def test_a_complex_weight_is_refused():
    with pytest.raises(
        ValueError, match=r"0 has a weight of dtype torch.complex64; it must be an initialised real one"
    ):
        adapt(nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64)), "lora", "0")


def test_a_merged_model_is_not_adapted_again(model):
    merge(adapt(model, "lora"))
    with pytest.raises(ValueError, match=r"blocks.0.qkv is merged; call unmerge\(model\) first"):
        adapt(model, "toeplitz")


@pytest.mark.parametrize("call", [merge, unmerge])
def test_nothing_to_merge(model, call):
    with pytest.raises(ValueError, match="the model has no adapter"):
        call(model)


def test_a_layer_under_two_names_gets_one_adapter():
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict({"a": shared, "b": shared, "c": nn.Linear(4, 4)})
    adapt(model, "circulant", ("a", "b", "c"))
    assert model["a"] is model["b"] is not model["c"]
    assert len(trainable_parameters(model)) == 2
    merge(model)
    assert model["a"] is model["b"]
    unmerge(model)
    assert model["a"] is model["b"]


def test_tied_weights_stay_tied():
    model = nn.ModuleDict({"embedding": nn.Embedding(7, 4), "out": nn.Linear(4, 7, bias=False)})
    model["out"].weight = model["embedding"].weight
    before = model["embedding"].weight.detach().clone()
    adapt(model, "lora", "out", keep=())
    with pytest.warns(UserWarning, match=r"embedding\.weight and out\.weight are one tensor; merging out gives it a"):
        merge(model)
    assert torch.equal(model["embedding"].weight, before)
    assert unmerge(model)["out"].linear.weight is model["embedding"].weight


@pytest.mark.thin(2)
@pytest.mark.parametrize("name", READY)
def test_the_whole_model_trains_and_merges(model, name):
    adapt(model, name, ("qkv", "proj", "fc1", "fc2"), **SMALL.get(name, {}))
    image, label = torch.randn(16, 1, 8, 8), torch.arange(16) % 5
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW(trainable_parameters(model), lr=1e-2)
    losses = []
    (method,) = methods_of(model)
    for step in range(15):
        method.before_step(SimpleNamespace(step=step, total_steps=15))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(image), label)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen)
    if METHODS[name].mergeable:
        y = model(image)
        torch.testing.assert_close(merge(model)(image), y, rtol=1e-4, atol=1e-4)


def test_torch_attention_never_calls_out_proj_so_it_is_refused():
    with pytest.raises(ValueError, match=r"only a called linear layer can"):
        adapt(nn.Sequential(nn.MultiheadAttention(8, 2)), "lora", "out_proj")


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")  # of norm_first, when torch builds the encoder
@pytest.mark.parametrize("norm_first", [True, False])
def test_inside_torch_transformer_encoder(norm_first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation="gelu", batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 2)
    adapt(model, "toeplitz", ("linear1", "linear2"))
    with torch.no_grad():
        for p in trainable_parameters(model):
            p.normal_(std=0.1)
    x, padding = torch.randn(4, 20, 8), torch.zeros(4, 20, dtype=torch.bool)
    padding[0, 15:] = True
    expected = model.train()(x, src_key_padding_mask=padding)[1:]
    torch.testing.assert_close(model.eval()(x, src_key_padding_mask=padding)[1:], expected)
    with torch.no_grad():  # where torch would take its fast path
        torch.testing.assert_close(model.eval()(x, src_key_padding_mask=padding)[1:], expected)
        merge(model)
        torch.testing.assert_close(model(x, src_key_padding_mask=padding)[1:], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["dinov2", "vit"])
def test_on_a_transformers_model(kind):
    transformers = pytest.importorskip("transformers", reason="needs the extra [hf]")
    torch.manual_seed(0)
    size = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    if kind == "dinov2":
        config = transformers.Dinov2Config(**size, mlp_ratio=2, num_labels=3)
        model = transformers.Dinov2ForImageClassification(config)
    else:
        config = transformers.ViTConfig(**size, intermediate_size=24, num_labels=3)
        model = transformers.ViTForImageClassification(config)
    model.eval()
    image = torch.randn(2, 3, 8, 8)
    before = model(image).logits
    adapt(model, "toeplitz")
    assert len(adapters_of(model)) == 2 * 3  # q, k, v in two blocks
    assert torch.equal(model(image).logits, before)
    assert model.classifier.weight.requires_grad
    with torch.no_grad():
        for p in trainable_parameters(model):
            p.add_(0.02)
    moved = model(image).logits
    assert not torch.allclose(moved, before)
    torch.testing.assert_close(merge(model)(image).logits, moved, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_remembers_of_a_model_is_neither_shown_nor_compared(name):
    remembered = [f for f in fields(METHODS[name]()) if f.default_factory is not MISSING]
    assert {"layers", "found"} <= {f.name for f in remembered}
    assert not any(f.init or f.repr or f.compare for f in remembered)


def test_options_that_methods_share_do_not_come_before_their_own():
    assert METHODS["adalora"](6, 4) == METHODS["adalora"](init_r=6, target_r=4)
    assert METHODS["elalora"](6) == METHODS["elalora"](rank=6)


def test_hooks_of_a_method_do_nothing_by_default(model):
    adapt(model, "lora")
    (method,) = methods_of(model)
    assert method.param_groups(model) == []
    assert method.penalty(None) == 0.0
    assert method.after_epoch(None) is False
    for hook in (method.before_step, method.after_backward, method.after_step, method.finish):
        assert hook(model) is None
    assert method.calibrate(model, {}, []) is None


def test_a_method_of_ones_own_needs_no_registry():
    class Nothing(Method):
        name, paper = "nothing", "none"

        def wrap(self, name, layer, generator):
            return LoRA(rank=1).wrap(name, layer, generator)

    model = adapt(nn.Sequential(nn.Linear(4, 4)), Nothing(), "0")
    assert len(trainable_parameters(model)) == 2
