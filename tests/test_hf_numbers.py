"""Options, words, files, dtypes and buffers of `SurmConfig`: what people who come from peft expect."""

import copy
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from real_models import move
from torch import nn

peft = pytest.importorskip("peft", reason="needs the extra [hf]")

from hf_models import out, small, surm, trained  # noqa: E402

from surm_lite.adapters import METHODS, Update, adapt, register  # noqa: E402
from surm_lite.hf import SurmConfig, SurmLinear  # noqa: E402
from surm_lite.matrices import Circulant  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def test_options_pattern(tmp_path):
    """The layers that peft's rank_pattern means by the same keys: whole dotted names, the first that fits."""
    ranks = {"h.1.attn.c_attn": 5, r"h\.\d.attn.c_attn": 3, "c_fc": 4, "attn": 7, "fc": 6}
    targets = ["c_attn", "c_fc"]
    lora = peft.LoraConfig(r=2, rank_pattern=ranks, target_modules=targets, fan_in_fan_out=True)
    with pytest.warns(RuntimeWarning, match="rank_pattern keys did not match .*'attn', 'fc'"):
        lora = peft.get_peft_model(small("gpt2"), lora)
    theirs = {n: m.r["default"] for n, m in lora.named_modules() if isinstance(m, peft.tuners.lora.LoraLayer)}
    pattern = {key: {"rank": r} for key, r in ranks.items()}
    config = SurmConfig(structure="lora", options={"rank": 2}, options_pattern=pattern, target_modules=targets)
    with pytest.warns(RuntimeWarning, match=r"options_pattern keys did not match any .*\['attn', 'fc'\]"):
        model = peft.get_peft_model(small("gpt2"), config).eval()
    ours = {n: m.surm_method["default"].rank for n, m in model.named_modules() if isinstance(m, SurmLinear)}
    assert ours == theirs
    assert set(ours.values()) == {3, 4, 5}
    move(trained(model))
    model.save_pretrained(tmp_path)
    with pytest.warns(RuntimeWarning, match="options_pattern"):
        again = peft.PeftModel.from_pretrained(small("gpt2"), tmp_path).eval()
    assert again.peft_config["default"].options_pattern == pattern
    assert list(again.peft_config["default"].options_pattern) == list(pattern), "the first that fits, after loading too"
    assert torch.equal(out(again), out(model))


@pytest.mark.parametrize("pattern", [3, "q", {"q": 3}, {1: {}}, [("q", [1])]])
def test_options_pattern_is_options_by_name(pattern):
    with pytest.raises(TypeError, match="options_pattern"):
        SurmConfig(options_pattern=pattern)


def test_a_nan_in_the_words_of_peft():
    lora = peft.get_peft_model(small("gpt2"), peft.LoraConfig(fan_in_fan_out=True))
    ours = surm("gpt2")
    for model in (lora, ours):
        with torch.no_grad():
            trained(model)[-1].fill_(float("nan"))
        broken = "^NaNs detected in the merged weights. The adapter default seems to be broken$"
        with pytest.raises(ValueError, match=broken):
            model.merge_adapter(safe_merge=True)
    half = peft.get_peft_model(nn.Sequential(nn.Linear(4, 4)).half(), SurmConfig(target_modules=["0"]))
    with torch.no_grad():
        trained(half)[0].fill_(1e6)  # finite, but not in float16
    before = half.base_model.model[0].base_layer.weight.clone()
    with pytest.raises(ValueError, match="The adapter default seems to be broken"):
        half.merge_adapter(safe_merge=True)
    assert torch.equal(half.base_model.model[0].base_layer.weight, before)


@pytest.mark.slow
def test_a_folder_says_what_to_import(tmp_path):
    surm("gpt2").save_pretrained(tmp_path)
    small("gpt2").save_pretrained(tmp_path / "base")
    load = f"""
import peft, transformers
base = transformers.GPT2LMHeadModel.from_pretrained({str(tmp_path / "base")!r})
peft.PeftModel.from_pretrained(base, {str(tmp_path)!r}); print("loaded")
"""
    without = subprocess.run([sys.executable, "-W", "ignore", "-c", load], capture_output=True, text=True)
    assert without.stderr.splitlines()[-1] == "KeyError: 'SURM: import surm_lite.hf'"
    load = "import surm_lite.hf" + load
    said = subprocess.run([sys.executable, "-W", "ignore", "-c", load], capture_output=True, text=True)
    assert said.stdout == "loaded\n"


def test_folders_of_version_010_load(tmp_path):
    model = surm("gpt2")
    model.save_pretrained(tmp_path)
    file = tmp_path / "adapter_config.json"
    text = file.read_text().replace("SURM: import surm_lite.hf", "SURM").replace('  "options_pattern": [],\n', "")
    assert "options_pattern" not in text
    file.write_text(text)
    assert torch.equal(out(peft.PeftModel.from_pretrained(small("gpt2"), tmp_path).eval()), out(model))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("structure", ["lora", "toeplitz"])
def test_a_half_precision_base_trains(structure, dtype):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 3)).to(dtype)
    ours = adapt(copy.deepcopy(base), structure, "0", keep=())
    config = SurmConfig(structure=structure, target_modules=["0"])
    injected = peft.inject_adapter_in_model(config, copy.deepcopy(base))
    model = peft.get_peft_model(base, config)
    for made in (injected, model):
        assert {p.dtype for p in trained(made)} == {torch.float32}
        assert all(torch.equal(p, q) for p, q in zip(trained(made), trained(ours))), "as with adapt, every bit"
    optimizer = torch.optim.AdamW(trained(model), lr=1e-2)
    x, labels = torch.randn(32, 64, dtype=dtype), torch.arange(32) % 3
    losses = []
    for _ in range(10):
        loss = F.cross_entropy(model(x).float(), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1
    assert all(p.isfinite().all() for p in trained(model))


@pytest.mark.parametrize("low", [True, False])
def test_float32_numbers_arrive_on_a_half_precision_base(low, tmp_path):
    """peft moves loaded adapters to the dtype of the base and back; sixteen bits of mantissa would be lost."""
    base = nn.Sequential(nn.Linear(16, 16)).bfloat16()
    model = peft.get_peft_model(copy.deepcopy(base), SurmConfig(structure="lora", target_modules=["0"]))
    move(trained(model))
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path, low_cpu_mem_usage=low, is_trainable=True)
    assert all(torch.equal(p, q) for p, q in zip(trained(again), trained(model), strict=True))


def masked():
    """A method of one's own: a circulant under a drawn sign, which is saved, and a scale, which is not."""
    from dataclasses import dataclass

    @register
    @dataclass
    class Masked(Update):
        name, paper = "masked", "a test"

        def n_params(self, m, n):
            return n

        def begin(self, name, weight, generator):
            sign = torch.randint(0, 2, (len(weight),), generator=generator) * 2.0 - 1
            return {
                "column": torch.zeros(len(weight)),
                "sign": nn.Buffer(sign),
                "scale": nn.Buffer(weight.float().norm(), persistent=False),
            }

        def operator(self, m, n, tensors):
            return Circulant(tensors["column"] * tensors["sign"] * tensors["scale"])

    return Masked


def test_an_adapter_moves_with_its_layer_and_keeps_its_dtype():
    """As peft asks for it; the device without numbers is one that every machine has."""
    base = nn.Sequential(nn.Linear(16, 16, dtype=torch.bfloat16))
    layer = peft.get_peft_model(base, SurmConfig(structure="toeplitz", target_modules=["0"])).base_model.model[0]
    own = list(layer.surm_tensors["default"].parameters())
    layer._move_adapter_to_device_of_base_layer("default", torch.device("meta"))
    moved = list(layer.surm_tensors["default"].parameters())
    assert {p.device.type for p in moved} == {"meta"}
    assert [p.dtype for p in moved] == [p.dtype for p in own] == [torch.float32] * len(own)


@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_buffers_of_a_method(low, dtype, tmp_path):
    masked()
    try:
        torch.manual_seed(0)
        base = nn.Sequential(nn.Linear(16, 16)).to(dtype)
        config = SurmConfig(structure="masked", target_modules=["0"], seed=3)
        model = peft.get_peft_model(copy.deepcopy(base), config)
        assert model.get_nb_trainable_parameters()[0] == 16
        layer = model.base_model.model[0]
        own = layer.surm_tensors["default"]
        move(trained(model))
        own.sign.neg_()  # no seed draws this one again
        S = layer.operator("default").to_dense()
        torch.testing.assert_close(S[:, 0], own.column * own.sign * base[0].weight.float().norm())
        model.save_pretrained(tmp_path)
        again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path, low_cpu_mem_usage=low)
        loaded = again.base_model.model[0]
        assert {n for n, _ in loaded.surm_tensors["default"].named_buffers()} == {"sign", "scale"}
        assert loaded.surm_tensors["default"].scale.dtype == torch.float32
        assert torch.equal(loaded.operator("default").to_dense(), S)
        x = torch.randn(64, 16, dtype=dtype)
        assert torch.equal(again(x), model(x))
    finally:
        del METHODS["masked"]


def test_a_method_that_acts_while_training_is_refused():
    Method = masked()
    Method.after_step = lambda self, state: None
    try:
        with pytest.raises(ValueError, match=r"'masked', which acts while it is trained \(after_step\)"):
            SurmConfig(structure="masked")
    finally:
        del METHODS["masked"]
