"""One batch, several adapters: `adapter_names` by the rules and words of LoRA in peft."""

import pytest
import torch
from real_models import move
from torch import nn

peft = pytest.importorskip("peft", reason="needs the extra [hf]")

from hf_models import out, small, surm, tokens, trained  # noqa: E402

from surm_lite.hf import SurmConfig, SurmLinear  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def two(kind="gpt2"):
    """Adapters "default" and "second", on layers that only overlap."""
    model = surm(kind)
    model.add_adapter("second", SurmConfig(structure="lora", target_modules=["c_attn", "mlp.c_fc"]))
    model.set_adapter("second")
    move(trained(model))
    model.set_adapter("default")
    return model.eval()


def test_a_mixed_batch():
    """Every row as if its adapter were alone; unsorted, with the base model among them; and as LoRA of peft does."""
    model, ids = two(), tokens()
    names = ["second", "__base__", "default", "second"]
    mixed = out(model, ids, adapter_names=names)
    for row, name in enumerate(names):
        if name == "__base__":
            with model.disable_adapter():
                alone = out(model, ids)
        else:
            model.set_adapter(name)
            alone = out(model, ids)
        torch.testing.assert_close(mixed[row], alone[row], rtol=1e-5, atol=1e-5)
    model.set_adapter("default")
    assert torch.equal(out(model, ids), out(model, ids, adapter_names=None))
    assert not any(m._forward_pre_hooks or m.asked for m in model.modules() if isinstance(m, SurmLinear))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["default", "typo", "default", "other"], "Trying to infer with non-existing adapter\\(s\\): other, typo"),
        (["default"] * 3, "Length of `adapter_names` should be the same as the number of inputs, but got 3 and 4"),
    ],
)
def test_mixed_batches_refuse_in_the_words_of_lora(names, said):
    lora = peft.get_peft_model(small("gpt2"), peft.LoraConfig(fan_in_fan_out=True)).eval()
    for model in (lora, surm("gpt2")):
        with pytest.raises(ValueError, match=said):
            out(model, adapter_names=names)
    model = surm("gpt2")
    with pytest.raises(ValueError, match=said):
        out(model, adapter_names=names)
    assert not any(m._forward_pre_hooks for m in model.modules()), "hooks are gone after an error too"


def test_mixed_batches_while_training_or_merged():
    model = surm("gpt2")
    with pytest.raises(ValueError, match="when the model is in training mode"):
        out(model.train(), adapter_names=["default"] * 4)
    model.eval().merge_adapter()
    with pytest.raises(ValueError, match="when there are merged adapters, please call `unmerge_adapter` first"):
        out(model, adapter_names=["default"] * 4)
    model.unmerge_adapter()
    with pytest.raises(TypeError, match="adapter_names is 'default'; it must be a list of names"):
        out(model, adapter_names="default")
    with pytest.raises(ValueError, match="alora_offsets: a structured update has no invocation tokens"):
        out(model, alora_offsets=[None] * 4)
    with pytest.raises(ValueError, match="adapter_names: typo does not exist; there are \\['default'\\]"):
        model.merge_adapter(["typo"])
    with pytest.raises(ValueError, match="adapter_names: typo does not exist"):
        model.merge_and_unload(adapter_names=["default", "typo"])


def test_a_mixed_batch_needs_layers_that_are_called():
    base = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval()
    model = peft.get_peft_model(base, SurmConfig(target_modules=["out_proj", "linear1"])).eval()
    with pytest.raises(ValueError, match=r"0.self_attn.out_proj is not called, its weight is read"):
        model(torch.randn(3, 5, 8), adapter_names=["default"] * 3)


def test_a_mixed_batch_with_modules_to_save():
    """An adapter that did not save the head takes the head of the base model."""
    model = surm("gpt_neox", modules_to_save=["embed_out"])
    model.add_adapter("second", SurmConfig(structure="lora"))
    mixed = out(model.eval(), adapter_names=["default", "second", "__base__", "default"])
    live = out(model)
    with model.disable_adapter():
        bare = out(model)
    torch.testing.assert_close(mixed, torch.stack([live[0], bare[1], bare[2], live[3]]), rtol=1e-5, atol=1e-5)


def test_mixed_beam_search():
    """Rows are repeated for the beams, in the decoder but not in the encoder."""
    model, ids = surm("t5"), tokens(2)
    how = {"num_beams": 3, "max_new_tokens": 4, "do_sample": False}
    mixed = model.generate(input_ids=ids, adapter_names=["default", "__base__"], **how)
    alone = model.generate(input_ids=ids, **how)
    with model.disable_adapter():
        bare = model.generate(input_ids=ids, **how)
    width = min(mixed.shape[1], alone.shape[1], bare.shape[1])
    assert torch.equal(mixed[0, :width], alone[0, :width])
    assert torch.equal(mixed[1, :width], bare[1, :width])
