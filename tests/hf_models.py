"""Small models of many types with random weights, adapted by peft, for the tests of `surm_lite.hf`."""

import pytest
import torch
from real_models import move

peft = pytest.importorskip("peft", reason="needs the extra [hf]")

import transformers  # noqa: E402

from surm_lite.hf import SurmConfig  # noqa: E402

SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
GPT2 = {"vocab_size": 50, "n_positions": 12, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 1,
        "eos_token_id": 1, "attn_pdrop": 0, "resid_pdrop": 0, "embd_pdrop": 0}  # fmt: skip
VISION = SMALL | {"image_size": 16, "patch_size": 8}
T5 = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "dropout_rate": 0}

# class of the model, class of the config, its arguments
TYPES = {
    "t5": ("T5ForConditionalGeneration", "T5Config", T5 | {"decoder_start_token_id": 0}),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", SMALL),
    "deberta": ("DebertaModel", "DebertaConfig", SMALL),
    "deberta-v2": ("DebertaV2Model", "DebertaV2Config", SMALL),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "bert": ("BertModel", "BertConfig", SMALL),
    "llama": ("LlamaForCausalLM", "LlamaConfig", SMALL),
    "phi": ("PhiForCausalLM", "PhiConfig", SMALL),
    "opt": ("OPTForCausalLM", "OPTConfig", SMALL | {"ffn_dim": 32, "word_embed_proj_dim": 16}),
    "bloom": ("BloomForCausalLM", "BloomConfig", {"vocab_size": 50, "hidden_size": 16, "n_layer": 1, "n_head": 2}),
}
ATTENTION = {"siglip": ("SiglipVisionModel", "SiglipVisionConfig", VISION)}


def small(kind):
    name, config, arguments = (TYPES | ATTENTION)[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, name)(getattr(transformers, config)(**arguments)).eval()


def transposed(kind):
    """LoRA wants to be told of Conv1D."""
    return {"fan_in_fan_out": kind == "gpt2"}


def trained(model):
    return [p for p in model.parameters() if p.requires_grad]


def surm(kind, structure="toeplitz", **more):
    model = peft.get_peft_model(small(kind), SurmConfig(structure=structure, **more)).eval()
    move(trained(model))
    return model


def tokens(rows=4, length=7):
    return torch.randint(2, 50, (rows, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def out(model, ids=None, **more):
    ids = tokens() if ids is None else ids
    labels = {"labels": ids} if getattr(model.config, "is_encoder_decoder", False) else {}
    said = model(input_ids=ids, **labels, **more)
    return said.logits if "logits" in said else said.last_hidden_state
