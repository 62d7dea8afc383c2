"""Which layers `SurmConfig` adapts, and what it adds to them: those of LoRA in peft, Conv1D, layers that do more."""

import copy

import pytest
import torch
import torch.nn.functional as F
from real_models import move, real
from torch import nn
from torch.nn.utils import prune

peft = pytest.importorskip("peft", reason="needs the extra [hf]")

from hf_models import ATTENTION, TYPES, out, small, surm, trained, transposed  # noqa: E402

from surm_lite.hf import SurmConfig, SurmLinear  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.mark.parametrize("targets", [None, "all-linear"])
@pytest.mark.parametrize("kind", [*TYPES, *ATTENTION])
def test_the_layers_that_lora_finds(kind, targets):
    """Whatever peft's own table or "all-linear" means for LoRA, Conv1D and fused attention included."""
    if kind in ATTENTION and targets is None:
        pytest.skip("not in the table of peft: LoRA refuses")
    lora = peft.get_peft_model(small(kind), peft.LoraConfig(target_modules=targets, **transposed(kind)))
    ours = peft.get_peft_model(small(kind), SurmConfig(target_modules=targets))
    assert ours.targeted_module_names == lora.targeted_module_names != []
    layers = [name for name, m in ours.base_model.model.named_modules() if isinstance(m, SurmLinear)]
    assert sorted(layers) == sorted(lora.targeted_module_names)


@pytest.mark.parametrize("kind", TYPES)
def test_they_all_work(kind, tmp_path):
    model = surm(kind)
    live, bare = out(model), out(small(kind))
    assert not torch.allclose(live, bare, atol=1e-3)
    with model.disable_adapter():
        assert torch.equal(out(model), bare)
    model.save_pretrained(tmp_path)
    assert torch.equal(out(peft.PeftModel.from_pretrained(small(kind), tmp_path).eval()), live)
    torch.testing.assert_close(out(model.merge_and_unload()), live, rtol=1e-4, atol=1e-5)


def test_conv1d_is_the_transpose():
    """Forward, the weight that is read, peft's delta and conversion, merging and back; rectangular."""
    model = surm("gpt2", "lora", target_modules=["c_attn", "mlp.c_proj"])
    layer = model.base_model.model.transformer.h[0].mlp.c_proj
    assert (layer.in_features, layer.out_features, layer.base_layer.weight.shape) == (64, 16, (64, 16))
    S = layer.operator("default").to_dense()  # (16, 64)
    x = torch.randn(80, 64, generator=torch.Generator().manual_seed(0))
    expected = x @ (layer.base_layer.weight + S.T) + layer.base_layer.bias
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x[:1]), expected[:1])
    torch.testing.assert_close(layer.weight, layer.base_layer.weight + S.T)
    torch.testing.assert_close(layer.get_delta_weight("default"), S.T)
    before, live = layer.base_layer.weight.clone(), out(model)
    model.merge_adapter(safe_merge=True)
    torch.testing.assert_close(layer.base_layer.weight, before + S.T)
    torch.testing.assert_close(out(model), live, rtol=1e-4, atol=1e-5)
    model.unmerge_adapter()
    assert torch.equal(layer.base_layer.weight, before)
    _, tensors = peft.convert_to_lora(model, rank=8, progressbar=False)
    B, A = (tensors[f"base_model.model.transformer.h.0.mlp.c_proj.lora_{k}.weight"] for k in "BA")
    torch.testing.assert_close(B @ A, S, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grad", [True, False])
def test_attention_of_torch_reads_the_weight(grad):
    """`nn.MultiheadAttention` never calls its out_proj; the update counts, with torch's fast path and without."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=True)).eval()
    x = torch.randn(3, 5, 8)
    model = peft.get_peft_model(copy.deepcopy(base), SurmConfig(target_modules=["self_attn.out_proj"])).eval()
    move(trained(model))
    with torch.set_grad_enabled(grad):
        live = model(x)
    assert not torch.allclose(live, base(x), atol=1e-3)
    torch.testing.assert_close(model.merge_and_unload()(x), live, rtol=1e-5, atol=1e-5)


def test_vit_is_not_in_the_table():
    """Types that peft has no entry for get the query, key and value projections, where LoRA refuses."""
    with pytest.raises(ValueError, match="Please specify `target_modules`"):
        peft.get_peft_model(real("vit"), peft.LoraConfig())
    found = peft.get_peft_model(real("vit"), SurmConfig()).targeted_module_names
    assert {name.rpartition(".")[2] for name in found} == {"q_proj", "k_proj", "v_proj"}


def odd(kind):
    torch.manual_seed(0)
    layer = nn.Linear(16, 16)
    if kind == "hook":
        layer.register_forward_hook(lambda module, inputs, y: y + 1)
    elif kind == "pre-hook":
        layer.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    elif kind == "instance":
        plain = layer.forward
        layer.forward = lambda x: plain(x) + 1
    else:
        layer = type("Shifted", (nn.Linear,), {"forward": lambda self, x: F.linear(x, self.weight, self.bias) + 1})(
            16, 16
        )
    return layer


@pytest.mark.parametrize("kind", ["hook", "pre-hook", "instance", "subclass"])
def test_what_the_base_layer_computes_counts(kind):
    base = odd(kind)
    x = torch.randn(64, 16)
    y = base(x)
    model = peft.get_peft_model(nn.Sequential(nn.Linear(16, 16), base), SurmConfig(target_modules=["0", "1"]))
    layers = model.base_model.model
    move(trained(model))
    expected = y + x @ layers[1].operator("default").to_dense().T
    torch.testing.assert_close(layers[1](x), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layers[1](x[:1]), expected[:1], rtol=1e-5, atol=1e-5)
    before = layers[0].base_layer.weight.clone()
    for merge in (model.merge_adapter, model.merge_and_unload):
        with pytest.raises(ValueError, match="1 cannot be merged: its base layer has hooks or a forward of its own"):
            merge()
    assert torch.equal(layers[0].base_layer.weight, before), "nothing is merged, then"


def test_accelerate_is_merged():
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(16, 16))
    add_hook_to_module(base[0], AlignDevicesHook(execution_device="cpu", io_same_device=True))
    model = peft.get_peft_model(base, SurmConfig(target_modules=["0"]))
    move(trained(model))
    x = torch.randn(64, 16)
    live = model(x)
    torch.testing.assert_close(model(x[:1]), live[:1])
    torch.testing.assert_close(model.merge_and_unload()(x), live, rtol=1e-5, atol=1e-5)


def replica(module):
    """What `nn.DataParallel` makes on each device: parameters are no parameters there, only attributes."""
    made = module._replicate_for_data_parallel()
    made._modules = {name: replica(child) for name, child in module._modules.items()}
    for name, parameter in module._parameters.items():
        made._parameters.pop(name, None)
        object.__setattr__(made, name, None if parameter is None else parameter * 1)
    return made


def test_pruned_and_replicated():
    model = surm("gpt2", "lora", target_modules=["c_attn"]).base_model.model
    layer = model.transformer.h[0].attn.c_attn
    x = torch.randn(5, 16)
    torch.testing.assert_close(replica(layer)(x), layer(x))
    own = layer.surm_tensors["default"]
    prune.l1_unstructured(own, "A", 0.5)
    assert int((own.A == 0).sum()) == own.A.numel() // 2
    expected = layer.base_layer(x) + x @ (own.B @ own.A).T * 1.0
    torch.testing.assert_close(layer(x), expected)
