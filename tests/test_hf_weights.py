"""Models that read the weight of a layer and never call it: the update counts there too."""

from importlib.metadata import version

import pytest
import torch
from real_models import move

peft = pytest.importorskip("peft", reason="needs the extra [hf]")

from hf_models import trained  # noqa: E402

from surm_lite.hf import SurmConfig  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def wavlm():
    """A model whose attention reads the weights of its projections and never calls them."""
    import transformers

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.WavLMConfig(
        **small, conv_dim=(8, 8), conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    return transformers.WavLMModel(config).eval()


def test_a_model_that_reads_weights():
    """The update counts there too; that of peft's own LoRA does not, which chapter 25 shows."""
    sound = torch.randn(1, 400, generator=torch.Generator().manual_seed(0))
    model = peft.get_peft_model(wavlm(), SurmConfig(target_modules=["q_proj", "v_proj"])).eval()
    move(trained(model))
    live = model(sound).last_hidden_state
    assert not torch.allclose(live, wavlm()(sound).last_hidden_state, atol=1e-3)
    assert all(g.any() for g in torch.autograd.grad(live.square().sum(), trained(model)))
    with model.disable_adapter():
        assert torch.equal(model(sound).last_hidden_state, wavlm()(sound).last_hidden_state)
    torch.testing.assert_close(model.merge_and_unload()(sound).last_hidden_state, live, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(version("peft") != "0.21.2", reason="a fact about peft 0.21.2; look again at any other version")
def test_lora_of_peft_does_nothing_there():
    lora = peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    sound = torch.randn(1, 400, generator=torch.Generator().manual_seed(0))
    out = peft.get_peft_model(wavlm(), lora).eval()(sound).last_hidden_state
    assert torch.equal(out, wavlm()(sound).last_hidden_state)
    assert not out.requires_grad
