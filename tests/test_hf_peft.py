"""SURM as a method of peft: everything that a user of peft does, for every structure and every kind of model."""

import copy
import json
import pickle
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from real_models import TARGETS, answer, each_kind, inputs, linears, move, real
from safetensors.torch import load_file
from torch import nn

import surm_lite as sl

peft = pytest.importorskip("peft", reason="needs the extra [hf]")

from peft.utils.peft_types import PeftType  # noqa: E402

from surm_lite.hf import SurmConfig, SurmLinear  # noqa: E402
from surm_lite.hf.config import FILE_TYPE, structures  # noqa: E402
from surm_lite.hf.register import register  # noqa: E402

# peft asks a model of transformers for a property by its old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
each_structure = pytest.mark.parametrize("structure", structures())
BASES = {}


def base(kind):
    if kind not in BASES:
        BASES[kind] = real(kind)
    return copy.deepcopy(BASES[kind])


def names(kind):
    """peft knows no globs: "attention.*_proj" in words."""
    return [t.replace("attention.*_proj", p) for t in TARGETS[kind] for p in ("q_proj", "o_proj")][::1]


def config(kind="vit", structure="toeplitz", **more):
    return SurmConfig(structure=structure, target_modules=sorted(set(names(kind))), **more)


def trainable(model):
    return [p for p in model.parameters() if p.requires_grad]


def moved(kind, structure="toeplitz", **more):
    model = peft.get_peft_model(base(kind), config(kind, structure, **more)).eval()
    move(trainable(model))
    return model


def test_it_is_registered_once():
    register()
    assert PeftType["SURM"] is PeftType("SURM") is pickle.loads(pickle.dumps(PeftType.SURM))
    assert peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING["SURM"] is SurmConfig
    assert peft.get_peft_config({"peft_type": "SURM", "structure": "ldr", "target_modules": ["q"]}).structure == "ldr"
    assert set(structures()) >= {"lora", "circulant", "toeplitz", "symmetric_toeplitz", "kronecker", "ldr", "loldu"}
    assert not set(structures()) & {"bottleneck", "dora", "bora", "full", "head", "bitfit"}


@pytest.mark.thin(6)
@each_kind
@each_structure
def test_it_is_adapt(kind, structure):
    """The same start values bit for bit, and after them the same outputs and gradients."""
    theirs = peft.get_peft_model(base(kind), config(kind, structure, seed=3))
    ours = sl.adapt(base(kind), structure, names(kind) if kind == "dinov2" else TARGETS[kind], keep=(), seed=3)
    assert torch.equal(answer(theirs.eval(), kind), answer(base(kind), kind)), "it starts as the base model"
    his = {name.removeprefix("base_model.model.").replace("surm_tensors.default.", ""): p
           for name, p in theirs.named_parameters() if p.requires_grad}  # fmt: skip
    mine = {name: p for name, p in ours.named_parameters() if p.requires_grad}
    assert mine.keys() == his.keys()
    assert all(torch.equal(p, his[name]) for name, p in mine.items())
    move(mine[name] for name in sorted(mine))
    move(his[name] for name in sorted(his))
    torch.testing.assert_close(answer(ours, kind), answer(theirs, kind), rtol=1e-6, atol=1e-6)


@pytest.mark.thin(6)
@each_kind
@each_structure
def test_merged_is_unmerged(kind, structure):
    model = moved(kind, structure)
    live = answer(model, kind)
    model.merge_adapter(safe_merge=True)
    torch.testing.assert_close(answer(model, kind), live, rtol=1e-5, atol=1e-5)
    model.unmerge_adapter()
    assert torch.equal(answer(model, kind), live), "the base weight is back, every bit"
    plain = model.merge_and_unload()
    torch.testing.assert_close(answer(plain, kind), live, rtol=1e-5, atol=1e-5)
    assert linears(plain) == linears(base(kind))
    assert plain.state_dict().keys() == base(kind).state_dict().keys()


@pytest.mark.thin(6)
@each_kind
@each_structure
def test_save_and_load(kind, structure, tmp_path):
    model = moved(kind, structure)
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (written["peft_type"], written["structure"]) == (FILE_TYPE, structure)
    size = sum(t.numel() for t in load_file(tmp_path / "adapter_model.safetensors").values())
    assert size == model.get_nb_trainable_parameters()[0]
    again = peft.PeftModel.from_pretrained(base(kind), tmp_path).eval()
    assert torch.equal(answer(again, kind), answer(model, kind))
    assert not trainable(again)
    lean = peft.PeftModel.from_pretrained(base(kind), tmp_path, low_cpu_mem_usage=True, is_trainable=True).eval()
    assert torch.equal(answer(lean, kind), answer(model, kind))
    assert len(trainable(lean)) == len(trainable(model))


@pytest.mark.thin(3)
@pytest.mark.parametrize("kind", ["vit", "bert"])
@each_structure
def test_it_trains(kind, structure):
    model = peft.get_peft_model(base(kind), config(kind, structure, modules_to_save=["classifier"])).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(trainable(model), lr=1e-2)
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(model(**inputs(kind)).logits, torch.tensor([0, 1, 2, 0]))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) != p.requires_grad, name


def test_modules_to_save_are_saved(tmp_path):
    model = moved("vit", modules_to_save=["classifier"])
    model.save_pretrained(tmp_path)
    assert "base_model.model.classifier.weight" in load_file(tmp_path / "adapter_model.safetensors")
    again = peft.PeftModel.from_pretrained(base("vit"), tmp_path).eval()
    assert torch.equal(answer(again, "vit"), answer(model, "vit"))
    assert torch.equal(answer(again.merge_and_unload(), "vit"), answer(model.merge_and_unload(), "vit"))


def test_disable_adapter():
    model = moved("vit")
    live, bare = answer(model, "vit"), answer(base("vit"), "vit")
    with model.disable_adapter():
        assert torch.equal(answer(model, "vit"), bare)
    assert torch.equal(answer(model, "vit"), live)
    model.merge_adapter()
    with model.disable_adapter():
        assert torch.equal(answer(model, "vit"), bare), "a merged one is unmerged first"
    assert torch.equal(answer(model, "vit"), live)
    assert torch.equal(answer(model.unload(), "vit"), bare)


def test_several_adapters(tmp_path):
    """By name: of two structures, on layers that only overlap; one at a time, both at once, deleted, loaded."""
    model = moved("vit")
    first = answer(model, "vit")
    other = SurmConfig(structure="ldr", options={"rank": 2}, target_modules=["q_proj", "k_proj"])
    model.add_adapter("second", other)
    assert torch.equal(answer(model, "vit"), first)
    assert trainable(model)
    assert all("second" not in name for name, p in model.named_parameters() if p.requires_grad)
    model.set_adapter("second")
    assert all("second" in name for name, p in model.named_parameters() if p.requires_grad)
    assert torch.equal(answer(model, "vit"), answer(base("vit"), "vit"))
    move(trainable(model))
    second = answer(model, "vit")

    model.base_model.set_adapter(["default", "second"])
    both = answer(model, "vit")
    layer = model.base_model.model.vit.layers[0].attention.q_proj
    x = torch.randn(3, 16)
    whole = layer.base_layer.weight + layer.get_delta_weight("default") + layer.get_delta_weight("second")
    torch.testing.assert_close(layer(x), F.linear(x, whole, layer.base_layer.bias))
    model.merge_adapter(["default"])
    with pytest.warns(UserWarning, match="You are now additionally merging second"):
        model.merge_adapter(["second"])
    torch.testing.assert_close(answer(model, "vit"), both, rtol=1e-5, atol=1e-5)
    with pytest.warns(UserWarning, match="already merged"):
        layer.merge()
    model.unmerge_adapter()
    with pytest.warns(UserWarning, match="Already unmerged"):
        model.unmerge_adapter()
    assert torch.equal(answer(model, "vit"), both)

    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(base("vit"), tmp_path).eval()
    again.load_adapter(tmp_path / "second", "second")
    assert torch.equal(answer(again, "vit"), first)
    again.set_adapter("second")
    assert torch.equal(answer(again, "vit"), second)
    model.set_adapter("second")
    model.delete_adapter("default")
    assert torch.equal(answer(model, "vit"), second)
    assert "default" not in layer.surm_tensors
    assert "default" not in layer.surm_method


@pytest.mark.parametrize("autocast", [True, False])
@each_structure
def test_bfloat16(structure, autocast):
    """peft keeps the adapter in float32 unless told otherwise; the merged weight is rounded once."""
    model = peft.get_peft_model(
        base("vit").to(torch.bfloat16), config("vit", structure), autocast_adapter_dtype=autocast
    )
    assert {p.dtype for p in trainable(model)} == {torch.float32 if autocast else torch.bfloat16}
    move(trainable(model))
    images = inputs("vit")["pixel_values"].to(torch.bfloat16)
    out = model(images).logits
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16
    assert all(p.grad.isfinite().all() for p in trainable(model))
    layer = model.base_model.model.vit.layers[0].attention.q_proj
    exact = layer.base_layer.weight.float() + layer.operator("default").to(torch.float32).to_dense()
    before = layer.base_layer.weight.clone()
    model.merge_adapter()
    assert torch.equal(layer.base_layer.weight, exact.bfloat16())
    torch.testing.assert_close(model(images).logits, out, rtol=0.1, atol=0.1)
    model.unmerge_adapter()
    assert torch.equal(layer.base_layer.weight, before)


def test_how_layers_are_chosen():
    default = peft.get_peft_model(base("vit"), SurmConfig())
    assert len(default.targeted_module_names) == 6
    everything = peft.get_peft_model(base("bert"), SurmConfig(target_modules="all-linear", task_type="SEQ_CLS"))
    assert all(isinstance(everything.get_submodule(f"base_model.model.{n}"), SurmLinear)
               for n in everything.targeted_module_names)  # fmt: skip
    assert len(everything.targeted_module_names) == 13  # all but the classifier
    pattern = peft.get_peft_model(base("vit"), SurmConfig(target_modules=r".*layers\.1.*\.(q|v)_proj"))
    assert [n.rpartition(".")[2] for n in pattern.targeted_module_names] == ["q_proj", "v_proj"]
    some = peft.get_peft_model(base("vit"), SurmConfig(target_modules=["q_proj"], layers_to_transform=[1]))
    assert len(some.targeted_module_names) == 1
    less = peft.get_peft_model(base("vit"), SurmConfig(target_modules=["q_proj"], exclude_modules=r".*layers\.0.*"))
    assert len(less.targeted_module_names) == 1


def test_other_ways_into_peft(tmp_path):
    """Injection without a wrapper, transformers' own integration, peft's conversion to LoRA, copies and pickles."""
    injected = peft.inject_adapter_in_model(config("vit"), base("vit"))
    assert isinstance(injected.vit.layers[0].attention.q_proj, SurmLinear)
    integrated = base("vit")
    integrated.add_adapter(config("vit"))
    move(trainable(integrated))
    integrated.save_pretrained(tmp_path)
    again = base("vit")
    again.load_adapter(str(tmp_path))
    assert torch.equal(answer(again, "vit"), answer(integrated, "vit"))

    model = moved("vit")
    assert torch.equal(answer(copy.deepcopy(model), "vit"), answer(model, "vit"))
    torch.save(model.state_dict(), tmp_path / "state.pt")
    assert model.get_model_status().peft_types == {"default": "SURM"}
    assert model.get_model_status().merged_adapters == []
    assert model.base_model.supports_lora_conversion()
    lora, tensors = peft.convert_to_lora(model, rank=16, progressbar=False)
    assert lora.r == 16
    layer = model.base_model.model.vit.layers[0].mlp.fc1
    B, A = (tensors[f"base_model.model.vit.layers.0.mlp.fc1.lora_{k}.weight"] for k in "BA")
    torch.testing.assert_close(B @ A, layer.get_delta_weight("default"), rtol=1e-4, atol=1e-5)
    assert repr(layer).startswith("surm.SurmLinear(")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"structure": "toeplits"}, "unknown structure 'toeplits'; did you mean 'toeplitz'"),
        ({"structure": "bottleneck"}, "structure is 'bottleneck', which is not a matrix that is added to the weight"),
        ({"structure": "dora"}, "structure is 'dora', which is not a matrix .* use surm_lite.adapt for it"),
        ({"structure": "gora"}, "structure is 'gora', which needs losses from the training loop, and peft passes none"),
        ({"structure": "singlora"}, "structure is 'singlora', which needs total_steps from the training loop"),
        ({"structure": "ldr", "options_pattern": {"q": {"rnak": 2}}}, r"options_pattern\['q'\]: unknown option"),
        ({"structure": "ldr", "options_pattern": {"(q": {"rank": 2}}}, r"options_pattern\['\(q'\]: missing \)"),
        ({"structure": "ldr", "options": {"rnak": 2}}, "unknown option of method 'ldr' 'rnak'; did you mean 'rank'"),
        ({"structure": "ldr", "options": {"rank": 0}}, "rank of method 'ldr' is 0"),
    ],
)
def test_a_config_that_makes_no_sense(arguments, said, own_errors):
    with pytest.raises(ValueError, match=said):
        SurmConfig(**arguments)


def test_layers_that_do_not_fit():
    with pytest.raises(ValueError, match=r"projection is a Conv2d; a structured update needs an nn.Linear or a Conv1D"):
        peft.get_peft_model(base("vit"), SurmConfig(target_modules=["projection"]))
    with pytest.raises(ValueError, match="q_proj: block is 5; it must divide both sides of the 16 x 16 layer"):
        peft.get_peft_model(base("vit"), config("vit", "circulant", options={"block": 5}))
    whole = nn.Sequential(nn.Linear(4, 4))
    whole[0].weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match=r"0 has a weight of dtype torch\.int8"):
        peft.get_peft_model(whole, SurmConfig(target_modules=["0"]))


def test_options_survive_the_file(tmp_path):
    options = {"a_shape": (4, 2)}
    model = moved("vit", "kronecker", options=options)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(base("vit"), tmp_path)
    layer = again.base_model.model.vit.layers[0].attention.q_proj
    assert layer.surm_method["default"].options() == {"a_shape": (4, 2), "alpha": 1.0}


@pytest.mark.slow
def test_the_core_leaves_peft_alone():
    said = "import sys, surm_lite; print('peft' in sys.modules, 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, text=True).stdout.split() == ["False"] * 2


def test_without_peft(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("surm_lite.hf")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs peft; pip install 'surm-lite\[hf\]'"):
        import surm_lite.hf  # noqa: F401
