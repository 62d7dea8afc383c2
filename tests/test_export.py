"""Export: the plain model is the adapted one, and peft reads the LoRA for exactly what is said of it."""

import copy
import json

import pytest
import torch
from adapter_cases import MERGEABLE, each, plain, snapshot, trained
from real_models import HF, OWN, TARGETS, answer, folder, move, real
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import surm_lite as sl
from surm_lite import files
from surm_lite.adapters import Adapter, Method, export
from surm_lite.adapters.attached import adapters_of
from surm_lite.commands import main as cli

peft = pytest.importorskip("peft", reason="needs the extra [hf]")
# peft asks a model of transformers for a property by its old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
KINDS = [*HF, *OWN]
AS_LORA = [case for case in MERGEABLE if case[0] != "lorae"]  # which changes the bias, as no LoRA does


def image():
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def as_peft(model, path):
    return peft.PeftModel.from_pretrained(model, path).eval()


@pytest.mark.thin(4)
@each(MERGEABLE)
def test_merged_file_is_the_plain_model(case, tmp_path):
    model = trained(case[0], **case[1]).eval()
    before = snapshot(model)
    done = export(model, tmp_path / "model.safetensors")
    assert snapshot(model) == before, "the model is left as it was"
    fresh = plain().eval()
    fresh.load_state_dict(load_file(tmp_path / "model.safetensors"))
    torch.testing.assert_close(fresh(image()), model(image()), rtol=1e-5, atol=1e-5)
    assert done.numbers == sum(p.numel() for p in fresh.parameters())
    assert str(done) == f"{tmp_path / 'model.safetensors'}: a plain model, {done.numbers:,} numbers"
    export(sl.merge(model), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


@pytest.mark.thin(4)
@each(AS_LORA)
def test_lora_without_a_rank_loses_nothing(case, tmp_path):
    model = trained(case[0], **case[1]).eval()
    before = snapshot(model)
    done = export(model, tmp_path / "lora", "lora")
    assert snapshot(model) == before
    assert done.error < 1e-12
    again = as_peft(plain(), tmp_path / "lora")
    torch.testing.assert_close(again(image()), model(image()), rtol=1e-5, atol=1e-5)
    if case[0] == "lora":
        both = 2 if "init" in case[1] else 1  # the start, which is taken out, counts too
        assert set(done.ranks.values()) == {both * case[1].get("rank", 8)}
    plain_again = again.merge_and_unload()
    torch.testing.assert_close(plain_again(image()), model(image()), rtol=1e-5, atol=1e-5)


def check_nearest(model, peft_model, done, rank, base):
    """Every layer of the LoRA is a nearest matrix of its rank (Eckart and Young), and the outputs are those of it.

    Which one is open: the singular values of a circulant come in equal pairs, and an odd rank cuts through a pair.
    """
    lost = size = 0.0
    # in double: the difference of two float32 weights knows a small update only to 1e-5 of itself
    exact = adapters_of(copy.deepcopy(model).double())
    updates = {name: (a.weight - a.linear.weight).detach() for name, a in exact.items()}
    for name in updates:
        S = updates[name]
        delta = peft_model.base_model.model.get_submodule(name).get_delta_weight("default").detach()
        s = torch.linalg.svdvals(S)
        off = (S - delta.double()).norm()
        torch.testing.assert_close(off, s[rank:].norm(), rtol=1e-4, atol=1e-5)
        assert torch.linalg.matrix_rank(delta.double(), rtol=1e-5) <= rank
        assert done.errors[name] == pytest.approx((off / s.norm()).item(), abs=1e-5)
        lost, size = lost + off.square(), size + s.norm().square()
        with torch.no_grad():
            base.get_submodule(name).weight += delta
    assert done.error == pytest.approx((lost / size).sqrt().item(), abs=1e-5)
    for name, p in base.named_parameters():
        if name.startswith("head"):
            p.data = model.get_parameter(name).data
    torch.testing.assert_close(peft_model(image()), base(image()), rtol=1e-5, atol=1e-5)


@pytest.mark.thin(6)
@pytest.mark.parametrize("rank", [1, 3])
@each(AS_LORA)
def test_lora_is_the_truncated_svd(case, rank, tmp_path):
    model = trained(case[0], **case[1]).eval()
    done = export(model, tmp_path, "lora", rank=rank)
    check_nearest(model, as_peft(plain(), tmp_path), done, rank, plain())
    assert str(done).startswith(f"{tmp_path}: a LoRA of rank")
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["surm_lite"])["relative_error"] == done.error


@pytest.mark.thin(3)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["toeplitz", "ldr"])
def test_real_models(kind, method, tmp_path):
    """Rectangular layers of different ranks in one file, and the trained head beside them."""
    model = sl.adapt(real(kind), method, TARGETS[kind])
    move(sl.trainable_parameters(model))
    export(model, tmp_path / "lora", "lora")
    again = as_peft(real(kind), tmp_path / "lora")
    torch.testing.assert_close(answer(again, kind), answer(model, kind), rtol=1e-5, atol=1e-5)
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert (config["modules_to_save"] is None) == (kind == "dinov2 backbone")
    export(model, tmp_path / "model.safetensors")
    fresh = real("fused qkv" if kind == "split qkv" else kind)  # the plain model, whatever was split
    with torch.no_grad():
        for p in fresh.parameters():
            p.zero_()
    fresh.load_state_dict(load_file(tmp_path / "model.safetensors"))
    torch.testing.assert_close(answer(fresh, kind), answer(model, kind), rtol=1e-5, atol=1e-5)


def test_layers_of_different_rank(tmp_path):
    model = trained("toeplitz", ("qkv", "proj"))
    sl.adapt(model, "lora", "fc1", rank=2)
    move(sl.trainable_parameters(model))
    done = export(model, tmp_path, "lora", rank=5)
    assert set(done.ranks.values()) == {2, 5}
    assert "rank 2 to 5 on 9 layers" in str(done)
    check_nearest(model, as_peft(plain(), tmp_path), done, 5, plain())


def test_two_adapters_on_a_layer_and_bfloat16(tmp_path):
    model = sl.adapt(trained("circulant"), "lora", "qkv", rank=2)
    move(sl.trainable_parameters(model))
    export(model, tmp_path, "lora")
    torch.testing.assert_close(as_peft(plain(), tmp_path)(image()), model(image()), rtol=1e-5, atol=1e-5)
    half = sl.adapt(nn.Sequential(nn.Linear(6, 4)).bfloat16(), "toeplitz", "0")
    move(sl.trainable_parameters(half))
    export(half, tmp_path, "lora", rank=1)
    assert {t.dtype for t in load_file(tmp_path / "adapter_model.safetensors").values()} == {torch.float32}


def test_an_untrained_update(tmp_path):
    done = export(sl.adapt(plain(), "toeplitz"), tmp_path, "lora")
    assert done.error == 0
    assert set(done.ranks.values()) == {1}
    assert torch.equal(as_peft(plain(), tmp_path)(image()), plain()(image()))


def test_an_adapter_of_another_kind(tmp_path):
    """Whatever knows its whole weight can be exported, unless it moves the bias."""

    class Scaled(Adapter):
        @property
        def weight(self):
            return 1.5 * self.linear.weight

        def forward(self, x):
            return x @ self.weight.mT + self.bias

    class Shifted(Scaled):
        @property
        def bias(self):
            return self.linear.bias + 1

    for kind in (Scaled, Shifted):
        model = plain().requires_grad_(False)
        model.blocks[0].fc1 = kind(model.blocks[0].fc1, Method(), {})
        if kind is Scaled:
            export(model, tmp_path, "lora")
            torch.testing.assert_close(as_peft(plain(), tmp_path)(image()), model(image()), rtol=1e-5, atol=1e-5)
        else:
            with pytest.raises(ValueError, match=r"blocks\.0\.fc1: its adapter changes the bias"):
                export(model, tmp_path, "lora")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lroa",), "unknown form 'lroa'; did you mean 'lora'"),
        (("lora", 0), "rank is 0 with form 'lora'; it must be an integer of at least 1"),
        (("lora", True), "rank is True"),
        (("merged", 4), "rank is 4 with form 'merged'"),
    ],
)
def test_refused(arguments, said, tmp_path, own_errors):
    with pytest.raises(ValueError, match=said):
        export(trained("toeplitz"), tmp_path / "x", arguments[0], rank=dict(enumerate(arguments)).get(1))
    assert not list(tmp_path.iterdir())


def test_refused_models_and_places(tmp_path):
    with pytest.raises(ValueError, match="the model has no adapter"):
        export(plain(), tmp_path / "x")
    for form in ("merged", "lora"):
        with pytest.raises(ValueError, match="cannot be merged"):
            export(trained("bottleneck"), tmp_path / "x", form)
    for keep in ("qkv.bias", "shift"):
        model = plain()
        model.shift = nn.Parameter(torch.zeros(3))
        with pytest.raises(ValueError, match=f"{keep}' was trained whole, which a LoRA file cannot hold"):
            export(sl.adapt(model, "toeplitz", "qkv", keep=keep), tmp_path / "x", "lora")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"path: .* is a folder"):
        export(trained("toeplitz"), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"path: .* is no folder"):
        export(trained("toeplitz"), tmp_path / "file", "lora")
    with pytest.raises(FileNotFoundError):
        export(trained("toeplitz"), tmp_path / "no" / "model.safetensors")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    export(trained("toeplitz"), path)
    old, model = path.read_bytes(), trained("ldr")
    before = snapshot(model)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        export(model, path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    assert snapshot(model) == before


@pytest.mark.slow
def test_command_line(tmp_path, capsys):
    adapter = tmp_path / "a.safetensors"
    words = ["train", "--model", "tiny_vit", "--data", "digits", "--device", "cpu", "--quick", "--save", str(adapter)]
    assert cli.main([*words, "--method", "circulant"]) == 0
    capsys.readouterr()
    whole, lora = tmp_path / "model.safetensors", tmp_path / "lora"
    assert cli.main(["export", str(adapter), str(whole)]) == 0  # the file names its base model
    assert "a plain model, 805,130 numbers" in capsys.readouterr().out
    rank = ["--form", "lora", "--rank", "4"]
    assert cli.main(["export", str(adapter), str(lora), "--model", "tiny_vit", *rank]) == 0
    assert "a LoRA of rank 4 on 18 layers" in capsys.readouterr().out
    assert (lora / "adapter_config.json").exists()


def test_command_line_with_a_folder_of_transformers(tmp_path, capsys):
    model = sl.adapt(real("vit"), "toeplitz")
    move(sl.trainable_parameters(model))
    adapter, lora = tmp_path / "a.safetensors", tmp_path / "lora"
    sl.save_adapter(model, adapter)
    assert cli.main(["export", str(adapter), str(lora), "--model", str(folder("vit")), "--form", "lora"]) == 0
    assert "relative error of the update" in capsys.readouterr().out
    torch.testing.assert_close(answer(as_peft(real("vit"), lora), "vit"), answer(model, "vit"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no.safetensors", "out"], "there is no adapter file at no.safetensors"),
        ([__file__, "out", "--model", "vit_s"], "--model: unknown model 'vit_s'; did you mean 'vit_s14'"),
        ([__file__, "out", "--model", "tiny_vit"], "damaged, or not a safetensors file"),
        ([__file__, "out", "--ranks", "3"], "unknown argument '--ranks'"),
    ],
)
def test_command_line_refuses(words, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", *words]) == 2
    assert said in capsys.readouterr().err
