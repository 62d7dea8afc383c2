"""What a file holds is what was trained: state, names, wrappers, shared tensors, and the base model it belongs to."""

import copy
import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import surm_lite as sl
from surm_lite.adapters import adapters_of
from surm_lite.files import read_sealed, write_sealed

X = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
OLD = Path(__file__).parent / "data"


def net(*layers):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), *(make() for make in layers))


def norm():
    return nn.BatchNorm1d(8)


def stirred(model):
    torch.manual_seed(1)
    with torch.no_grad():
        for p in sl.trainable_parameters(model):
            p.add_(0.3 * torch.randn(p.shape))
    return model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize("keep", ["1", ()])
def test_running_statistics_of_a_norm_kept_or_frozen(keep, path):
    model = sl.adapt(net(norm), "toeplitz", targets="0", keep=keep).train()
    assert sl.count(model).stored == sl.count(model).trained
    for _ in range(20):
        model(3 * torch.randn(32, 8) + 2)
    sl.save_adapter(model.eval(), path)
    again = sl.load_adapter(net(norm), path).eval()
    assert torch.equal(again(X), model(X))
    sl.save_adapter(again, path)  # and once more from what was loaded
    assert torch.equal(sl.load_adapter(net(norm), path).eval()(X), model(X))
    assert sum(t.numel() for t in load_file(path).values()) == sl.count(model).stored


def test_kept_is_what_adapt_was_told(path):
    def base():
        torch.manual_seed(0)
        return nn.ModuleDict({"query": nn.Linear(8, 8), "head": nn.Linear(8, 3)})

    model = sl.adapt(base(), "toeplitz")
    with torch.no_grad():
        model["head"].weight += 1
    sl.save_adapter(model.requires_grad_(False), path)
    assert torch.equal(sl.load_adapter(base(), path)["head"].weight, model["head"].weight)


def test_two_equal_methods_are_two(path):
    model = sl.adapt(net(lambda: nn.Linear(8, 8)), "lora", targets="0")
    sl.adapt(model, "lora", targets="1")
    stirred(model)
    sl.save_adapter(model, path)
    assert torch.equal(sl.load_adapter(net(lambda: nn.Linear(8, 8)), path)(X), model(X))


def test_a_second_adapt_keeps_what_the_first_one_trains(path):
    model = sl.adapt(net(norm), "lora", targets="0", keep="1.weight")
    sl.adapt(model, "toeplitz", targets="0", keep="1.bias")
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {"1.weight", "1.bias", "0.column", "0.base_layer.A"} <= trained
    sl.save_adapter(stirred(model).eval(), path)
    assert torch.equal(sl.load_adapter(net(norm), path).eval()(X), model(X))


WRAPPERS = {
    "compile": lambda m: torch.compile(m, backend="eager"),
    "DataParallel": nn.DataParallel,
    "averaged": AveragedModel,
    "twice": lambda m: nn.DataParallel(torch.compile(m, backend="eager")),
    "a part": lambda m: m.__setitem__(0, torch.compile(m[0], backend="eager")) or m,
}


@pytest.mark.parametrize("kind", WRAPPERS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_wrappers_leave_no_trace(kind, when, path, tmp_path):
    def base():
        return net(norm)

    wrap = WRAPPERS[kind]
    if when == "after":
        model = wrap(stirred(sl.adapt(base(), "toeplitz", targets="0", keep="1")))
    else:
        model = stirred(sl.adapt(wrap(base()), "toeplitz", targets="0", keep="1"))
    bare = sl.adapt(base(), "toeplitz", targets="0", keep="1")
    assert list(adapters_of(model)) == ["0"]
    assert sl.count(model) == sl.count(bare)
    sl.save_adapter(model, path)
    assert {"0:0:column", "kept:1.weight"} <= load_file(path).keys()
    again, told = sl.load_adapter(base(), path).eval(), stirred(bare).eval()(X)
    assert torch.equal(again(X), told)
    assert sl.count(sl.load_adapter(wrap(base()), path)) == sl.count(bare)
    with torch.compiler.set_stance("force_eager"):
        torch.testing.assert_close(model.eval()(X), told)
    sl.export(model, tmp_path / "m.safetensors")
    plain = base().eval()
    plain.load_state_dict(load_file(tmp_path / "m.safetensors"))
    torch.testing.assert_close(plain(X), again(X))


class Odd(nn.Module):
    """Names that are parts and endings of others, and words of our own files."""

    def __init__(self):
        super().__init__()
        for name in ("base_layer", "kept", "a:0:b", "module", "my_base_layer", "a[0]", "_orig_mod", "fc"):
            self.add_module(name, nn.Linear(8, 8))
        self.block = nn.ModuleDict({"fc": nn.Linear(8, 8), "base_layer": nn.Sequential(nn.Linear(8, 8))})
        self.head, self.xhead = nn.Linear(8, 3), nn.Linear(3, 3)

    def forward(self, x):
        for layer in self.children():
            x = layer["base_layer"](layer["fc"](x)) if isinstance(layer, nn.ModuleDict) else layer(x)
        return x


def odd():
    torch.manual_seed(0)
    return Odd()


def test_any_name_that_python_allows(path, tmp_path):
    model = stirred(sl.adapt(odd(), "toeplitz", targets="*", keep="head"))
    names = set(adapters_of(model))
    assert names == {n for n, m in odd().named_modules() if isinstance(m, nn.Linear)} - {"head"}
    sl.save_adapter(model, path)
    assert torch.equal(sl.load_adapter(odd(), path)(X), model(X))
    with pytest.warns(UserWarning, match="fingerprint"):
        sl.load_adapter(noisy(odd()), path)
    sl.export(model, tmp_path / "m.safetensors")
    plain = odd()
    plain.load_state_dict(load_file(tmp_path / "m.safetensors"))
    torch.testing.assert_close(plain(X), model(X), rtol=1e-4, atol=1e-4)
    for name in ("a[0]", "a:0:b", "block.base_layer.0", "base_layer"):
        found = adapters_of(sl.adapt(odd(), "lora", targets=name, keep=()))
        assert name in found
    sl.adapt(odd(), "toeplitz", targets="kept", keep="block.base_layer")


def noisy(model):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.01)
    return model


def test_two_tensors_of_one_key_are_refused(path):
    model = nn.ModuleDict({"kept": nn.Linear(8, 8)})
    model.register_parameter("0:column", nn.Parameter(torch.zeros(3)))
    sl.adapt(model, "toeplitz", targets="kept", keep="0:column")
    with pytest.raises(ValueError, match="two tensors of the model would both be 'kept:0:column'"):
        sl.save_adapter(model, path)


@pytest.mark.parametrize("first", ["embedding", "head"])
def test_a_tied_tensor_is_trained_saved_and_counted_once(first, path):
    def base():
        torch.manual_seed(0)
        parts = {"embedding": nn.Embedding(7, 4), "mid": nn.Linear(4, 4), "head": nn.Linear(4, 7, bias=False)}
        model = nn.ModuleDict({first: parts.pop(first), **parts})
        model["head"].weight = model["embedding"].weight
        return model

    model = sl.adapt(base(), "toeplitz", targets="mid", keep="head")
    assert model["head"].weight.requires_grad, "whatever the order of the names"
    assert sl.count(model).kept == 28
    with torch.no_grad():
        model["embedding"].weight += 1
    sl.save_adapter(model, path)
    assert [k for k in load_file(path) if k.startswith("kept:")] == ["kept:head.weight"]
    again = sl.load_adapter(base(), path)
    assert torch.equal(again["embedding"].weight, model["embedding"].weight)
    assert again["head"].weight is again["embedding"].weight
    sl.export(model, path.with_name("m.safetensors"))
    plain = base()
    plain.load_state_dict(load_file(path.with_name("m.safetensors")))
    assert torch.equal(plain["head"].weight, model["head"].weight)


def test_merging_that_unties_cannot_be_exported_as_the_plain_model(path):
    model = nn.ModuleDict({"embedding": nn.Embedding(7, 4), "head": nn.Linear(4, 7, bias=False)})
    model["head"].weight = model["embedding"].weight
    sl.adapt(model, "toeplitz", targets="head", keep=())
    with pytest.raises(ValueError, match=r"embedding\.weight and head\.weight are one tensor; .* take form 'lora'"):
        sl.export(model, path)
    assert not path.exists()


def test_a_base_of_other_weights_is_told_and_one_in_bfloat16_is_the_same(path):
    sl.save_adapter(stirred(sl.adapt(net(), "toeplitz", targets="0")), path)
    with pytest.warns(UserWarning, match=r"a\.safetensors: .*have the fingerprint [0-9a-f]{16}; .* have [0-9a-f]{16}"):
        sl.load_adapter(noisy(net()), path)
    sl.load_adapter(net().bfloat16(), path)
    sl.load_adapter(nn.Sequential(copy.deepcopy(net()[0])), path)


@pytest.mark.parametrize("split", [False, True])
def test_the_file_says_how_qkv_was_split(split, path, tmp_path):
    def base():
        config = sl.models.ViTConfig(width=8, depth=1, heads=2, image_size=14, num_classes=2)
        return sl.models.ViT(config, generator=torch.Generator().manual_seed(0)).eval()

    images = torch.randn(3, 1, 14, 14)
    model = sl.models.split_qkv(base()) if split else base()
    stirred(sl.adapt(model, "toeplitz"))
    sl.save_adapter(model, path)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["surm_lite"])
    assert header["layout"] == ("split qkv" if split else None)
    assert header["model"]["class"] == "ViT"
    assert header["model"]["config"]["image_size"] == 14
    assert torch.equal(sl.load_adapter(base(), path)(images), model(images))
    sl.export(model, tmp_path / "m.safetensors")
    plain = base()
    plain.load_state_dict(load_file(tmp_path / "m.safetensors"))
    torch.testing.assert_close(plain(images), model(images), rtol=1e-4, atol=1e-5)
    if not split:
        with pytest.raises(ValueError, match="the model has layout 'split qkv', the file's had None"):
            sl.load_adapter(sl.models.split_qkv(base()), path)


def test_a_refused_file_leaves_qkv_whole(path):
    config = sl.models.ViTConfig(width=8, depth=1, heads=2, image_size=14)
    sl.save_adapter(sl.adapt(sl.models.split_qkv(sl.models.ViT(config)), "toeplitz"), path)
    header, tensors, _ = read_sealed(path, "surm_lite", "adapter file", 1)
    tensors["extra"] = torch.ones(1)
    write_sealed(path, "surm_lite", header, tensors)
    model = sl.models.ViT(config)
    with pytest.raises(ValueError, match="tensor 'extra' is in the file only"):
        sl.load_adapter(model, path)
    assert type(model.blocks[0].attn.qkv) is nn.Linear
    sl.models.split_qkv(model)


def test_files_of_version_0_1_0_still_load(path):
    model = nn.ModuleDict({"query": nn.Linear(6, 4), "head": nn.Linear(4, 3)})
    with pytest.warns(UserWarning, match=r"written by version 0\.1\.0 without a digest"):
        sl.load_adapter(model, OLD / "adapter_0_1_0.safetensors")
    assert model["query"].column.tolist() == [0.0, 0.125, 0.25, 0.375]
    assert model["query"].row.tolist() == [1.0, 1.25, 1.5, 1.75, 2.0]
    assert model["head"].bias.tolist() == [0.0, 1.0, 2.0]
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "query.column", "query.row", "head.weight", "head.bias"
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sl.save_adapter(model, path)  # and is a file of today from then on, the head included
    assert "kept:head.bias" in load_file(path)
    vit = sl.models.ViT(sl.models.ViTConfig(width=8, depth=1, heads=2, image_size=14, num_classes=2))
    with pytest.warns(UserWarning, match="without a digest"):
        sl.load_adapter(vit, OLD / "split_adapter_0_1_0.safetensors")
    assert vit.blocks[0].attn.qkv.v_proj.kernel.flatten().tolist() == [k / 8 for k in range(8)]


def test_places_and_states_that_no_file_can_hold(path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist"):
        sl.save_adapter(sl.adapt(net(), "toeplitz", targets="0"), path.parent / "nowhere" / "a.st")

    class Stateful(nn.Linear):
        def get_extra_state(self):
            return {"seen": 3}

        def set_extra_state(self, state):
            pass

    model = sl.adapt(net(lambda: Stateful(8, 3)), "toeplitz", targets="0", keep="1")
    with pytest.raises(ValueError, match=r"1 \(Stateful\) is kept and has extra state"):
        sl.save_adapter(model, path)
    with pytest.raises(ValueError, match="is on the meta device, so it has no numbers"):
        sl.save_adapter(sl.adapt(net(), "toeplitz", targets="0").to("meta"), path)
    sl.save_adapter(sl.adapt(net(), "toeplitz", targets="0"), path)
    with pytest.raises(ValueError, match="meta device, so it has no numbers"):
        sl.load_adapter(net().to("meta"), path)
    counted = sl.count(sl.adapt(net().to("meta"), "toeplitz", targets="0"))  # enough to plan with
    assert counted == sl.count(sl.adapt(net(), "toeplitz", targets="0"))
