"""Weights that lie transposed or in few bits: the update is added to whatever the layer computes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

import surm_lite as sl
from surm_lite.adapters import METHODS, Rewrite, adapters_of

EVERY = [name for name, method in METHODS.items() if method.wraps and "losses" not in method.needs]
REWRITES = [name for name in EVERY if issubclass(METHODS[name], Rewrite)]
X = torch.randn(40, 12, generator=torch.Generator().manual_seed(0))


def stirred(model):
    generator = torch.Generator().manual_seed(1)
    for adapter in adapters_of(model).values():
        adapter.method.stir(adapter, generator)
    return model


class Int8(nn.Linear):
    """Weight-only quantisation: rows of integers and a scale for each, as bitsandbytes holds them."""

    def __init__(self, layer):
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None)
        scale = layer.weight.detach().abs().amax(1, keepdim=True) / 127
        self.weight = nn.Parameter((layer.weight.detach() / scale).round().to(torch.int8), requires_grad=False)
        self.bias = layer.bias
        self.register_buffer("scale", scale)

    def forward(self, x):
        return F.linear(x, self.weight * self.scale, self.bias)


class Plus(Int8):
    def forward(self, x):
        return super().forward(x) + 1


class Packed(torch.Tensor):
    """A weight as torchao holds it: a tensor of its own kind, with hardly any of torch's functions."""

    @staticmethod
    def __new__(cls, rows, scale):
        return torch.Tensor._make_wrapper_subclass(cls, rows.shape, dtype=scale.dtype)

    def __init__(self, rows, scale):
        self.rows, self.scale = rows, scale

    def dequantize(self):
        return self.rows * self.scale

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is F.linear:
            x, weight, bias = args
            return F.linear(x, weight.dequantize(), bias)
        return super().__torch_function__(func, types, args, kwargs)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.detach.default, torch.ops.aten.clone.default):
            return cls(args[0].rows, args[0].scale)
        raise NotImplementedError(func)


Packed.__module__ = "torchao.like"


def few_bits(model, kind, names=None):
    """The model with linear layers in int8."""
    if kind == "dynamic":
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    if kind == "packed":
        for layer in (layer for layer in model.modules() if type(layer) is nn.Linear):
            rows = Int8(layer)
            layer.weight = nn.Parameter(Packed(rows.weight.detach(), rows.scale), requires_grad=False)
        return model
    for name, layer in list(model.named_modules()):
        if type(layer) is nn.Linear and (names is None or name in names):
            model.set_submodule(name, Int8(layer))
    return model


def net(kind):
    torch.manual_seed(0)
    return few_bits(nn.Sequential(nn.Linear(12, 8)), kind)


def quantised(test):
    """All kinds; torch says of its own that another package has taken it over."""
    for ignored in ("torch.ao.quantization:DeprecationWarning", ".*quantized:UserWarning"):
        test = pytest.mark.filterwarnings(f"ignore:{ignored}")(test)
    return pytest.mark.parametrize("kind", ["dynamic", "weights only", "packed"])(test)


@quantised
@pytest.mark.parametrize("method", [name for name in EVERY if name not in REWRITES])
def test_the_update_is_added_to_what_the_layer_computes(kind, method, tmp_path):
    model, plain = net(kind), net(kind)
    sl.adapt(model, method, targets="0")
    if METHODS[method].exact_at_init:
        assert torch.equal(model(X), plain(X))
    stirred(model)
    if METHODS[method].mergeable:
        update = model[0].operator().to_dense()
        torch.testing.assert_close(model(X), plain(X) + X @ update.mT, rtol=1e-5, atol=1e-5)
    sl.save_adapter(model, tmp_path / "a.st")
    assert torch.equal(sl.load_adapter(net(kind), tmp_path / "a.st")(X), model(X))
    with pytest.raises(ValueError, match=r"0: .*(quantised|cannot be merged)"):
        sl.merge(model)


@quantised
@pytest.mark.parametrize("method", REWRITES)
def test_a_rewrite_is_refused(kind, method):
    with pytest.raises(ValueError, match=f"0: its weight is quantised, and method '{method}' rewrites the whole"):
        sl.adapt(net(kind), method, targets="0")


@quantised
def test_merging_with_a_dtype_takes_the_weight_out_of_its_bits(kind):
    model = stirred(sl.adapt(net(kind), "toeplitz", targets="0"))
    y = model(X)
    sl.merge(model, dtype=torch.float32)
    assert type(model[0]) is nn.Linear
    # dynamic quantisation rounds the inputs too, to 255 steps
    torch.testing.assert_close(model(X), y, rtol=1e-4, atol=5e-2 if kind == "dynamic" else 1e-4)
    assert torch.equal(sl.unmerge(model)(X), y)


def test_integers_whose_forward_does_more_are_not_merged():
    torch.manual_seed(0)
    plain = nn.Sequential(Plus(nn.Linear(12, 8)))
    model = stirred(sl.adapt(copy.deepcopy(plain), "toeplitz", targets="0"))
    update = model[0].operator().to_dense()
    torch.testing.assert_close(model(X), plain(X) + X @ update.mT, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model[0].weight - update, plain[0].weight * plain[0].scale)
    with pytest.raises(ValueError, match=r"0: cannot be merged: its layer has a forward of its own \(Plus\)"):
        sl.merge(model, dtype=torch.float32)


@quantised
def test_a_gradient_passes_a_quantised_layer(kind):
    model = stirred(sl.adapt(net(kind), "toeplitz", targets="0"))
    x = X.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(x).sum(), x)
    torch.testing.assert_close(g, model[0].weight.sum(0).expand(40, 12), rtol=1e-4, atol=1e-5)


@quantised
def test_a_run_goes_on_from_its_checkpoint(kind, tmp_path):
    def fresh():
        return sl.adapt(nn.Sequential(nn.Flatten(), *net(kind)), "toeplitz", targets="1")

    part = sl.data.Split(torch.arange(96, dtype=torch.uint8).reshape(8, 1, 3, 4), torch.arange(8) % 2)
    data = sl.data.LabelledSet("few", part, part, part, ("even", "odd"), "made up")
    how = {"epochs": 4, "batch_size": 4, "device": "cpu", "progress": False, "checkpoint": tmp_path / "run.ckpt"}
    short = sl.train(fresh(), data, max_steps=4, **how)
    assert sl.train(fresh(), data, resume=True, max_steps=4, **how).loss == short.loss


@pytest.mark.slow
def test_an_int8_vit_trains_as_its_float_twin():
    """Within a point of accuracy."""
    data = sl.data.load("digits", train=200, validation=50, test=1000)
    scores = {}
    for kind in ("float", "int8"):
        model = sl.models.split_qkv(sl.models.tiny_vit(num_classes=10, seed=0))
        if kind == "int8":
            few_bits(model, "weights only", {name for name, _ in model.named_modules() if name != "head"})
        sl.adapt(model, "circulant", seed=0)
        scores[kind] = sl.train(model, data, epochs=3, lr=3e-3, seed=0, device="cpu").test_score
    assert scores["float"] > 0.5, scores
    assert abs(scores["int8"] - scores["float"]) <= 0.01, scores


def conv1d():
    module = pytest.importorskip("transformers.pytorch_utils", reason="needs the extra [hf]")
    torch.manual_seed(0)
    return nn.Sequential(module.Conv1D(8, 12))


@pytest.mark.parametrize("method", EVERY)
def test_conv1d(method, tmp_path):
    model, plain = conv1d(), conv1d()
    sl.adapt(model, method, targets="0")
    assert (model[0].out_features, model[0].in_features) == (8, 12)
    if METHODS[method].exact_at_init:
        torch.testing.assert_close(model(X), plain(X))
    stirred(model)
    sl.save_adapter(model, tmp_path / "a.st")
    assert torch.equal(sl.load_adapter(conv1d(), tmp_path / "a.st")(X), model(X))
    if not METHODS[method].mergeable:
        return
    for rows in (X, X[:1]):
        torch.testing.assert_close(model(rows), F.linear(rows, model[0].weight, model[0].bias), rtol=1e-4, atol=1e-5)
    y = model(X)
    sl.export(model, tmp_path / "m.st")
    plain.load_state_dict(load_file(tmp_path / "m.st"))
    torch.testing.assert_close(plain(X), y, rtol=1e-4, atol=1e-5)
    chance = torch.get_rng_state()
    merged = sl.merge(model)
    assert torch.equal(torch.get_rng_state(), chance), "no random number is drawn"
    assert {n: t.shape for n, t in merged.state_dict().items()} == {n: t.shape for n, t in plain.state_dict().items()}
    assert type(merged[0]) is type(plain[0])
    torch.testing.assert_close(merged(X), y, rtol=1e-4, atol=1e-5)
    assert torch.equal(sl.unmerge(merged)(X), y)


def gpt2():
    transformers = pytest.importorskip("transformers", reason="needs the extra [hf]")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=50, n_positions=8, n_embd=16, n_layer=2, n_head=2, bos_token_id=1,
                                     eos_token_id=1)  # fmt: skip
    return transformers.GPT2LMHeadModel(config).eval()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # asked for by peft
def test_gpt2_is_adapted_merged_and_exported(tmp_path):
    peft = pytest.importorskip("peft", reason="needs the extra [hf]")
    words = torch.arange(6)[None]
    model = sl.adapt(gpt2(), "toeplitz")
    assert [name.rpartition(".")[2] for name in adapters_of(model)] == ["c_attn"] * 2
    assert torch.equal(model(words).logits, gpt2()(words).logits)
    y = stirred(model)(words).logits
    sl.export(model, tmp_path / "lora", "lora")
    again = peft.PeftModel.from_pretrained(gpt2(), tmp_path / "lora")
    torch.testing.assert_close(again(words).logits, y, rtol=1e-4, atol=1e-4)
    sl.export(model, tmp_path / "m.st")
    plain = gpt2()
    plain.load_state_dict(load_file(tmp_path / "m.st"))
    torch.testing.assert_close(plain(words).logits, y, rtol=1e-4, atol=1e-4)
    sl.merge(model).save_pretrained(tmp_path / "merged")
    read = type(plain).from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(read(words).logits, y, rtol=1e-4, atol=1e-4)


def test_the_output_layer_of_a_language_model_is_not_suggested():
    model = gpt2()
    for block in model.transformer.h:
        block.attn.query_key = block.attn.c_attn
        del block.attn.c_attn
    with pytest.raises(ValueError, match=r"pass targets=..., for example") as caught:
        sl.adapt(model, "lora")
    assert "'query_key'" in str(caught.value)
    assert "lm_head" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*quantized:UserWarning")
def test_quantised_layers_that_are_left_are_named():
    """Torch's own have no gradient unless they are adapted: an adapter before one learns nothing through it."""
    model = few_bits(nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3)), "dynamic")
    with pytest.warns(UserWarning, match=r"no gradient passes through 1, 2: .* name them in targets too"):
        sl.adapt(model, "toeplitz", targets="0")
    sl.adapt(model, "toeplitz", targets=("1", "2"))  # any warning is an error
    model(X).sum().backward()
    assert all(p.grad is not None for p in sl.trainable_parameters(model))
