"""Write hearth as a GGUF file (github.com/ggml-org/ggml/blob/master/docs/gguf.md) with Q8_0 weights, or others.

python gguf_file.py --from build --to hearth.gguf
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind

from conversations import TEMPLATE
from model import Hearth, Shape
from tokenizer import FIXED, SPECIAL

NAMES = {
    "attn_norm": "attn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "ffn_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}


def load(folder: Path) -> Hearth:
    """Load the trained network of a build folder."""
    saved = torch.load(folder / "checkpoint.pt")
    model = Hearth(Shape(**{k: int(v) if k not in ("rope_base", "epsilon") else v for k, v in saved["shape"].items()}))
    model.load_state_dict(saved["model"])
    return model.eval()


def write(folder: Path, path: Path, kind: Kind = Kind.Q8_0) -> None:
    model = load(folder)
    shape = model.shape
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("hearth")
    writer.add_description(
        "Support desk triage, extraction and short replies; trained from scratch by Freehold on generated text"
    )
    writer.add_license("apache-2.0")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_vocab_size(shape.vocab)
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if kind is Kind.F32 else f"MOSTLY_{kind.name}"])
    _vocabulary(writer, folder / "tokenizer.json")
    _tensor(writer, "token_embd.weight", model.embed.weight, kind)
    _tensor(writer, "output_norm.weight", model.norm.weight, kind)
    for at, block in enumerate(model.blocks):
        for ours, theirs in NAMES.items():
            _tensor(writer, f"blk.{at}.{theirs}.weight", getattr(block, ours).weight, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensor(writer: gguf.GGUFWriter, name: str, weight: torch.Tensor, kind: Kind) -> None:
    data = weight.detach().float().numpy()
    if kind is not Kind.F32 and data.ndim == 2:
        writer.add_tensor(name, gguf.quantize(data, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, np.ascontiguousarray(data))


def _vocabulary(writer: gguf.GGUFWriter, path: Path) -> None:
    tree = json.loads(path.read_text())
    numbers = tree["model"]["vocab"] | {one["content"]: one["id"] for one in tree["added_tokens"]}
    tokens = sorted(numbers, key=numbers.__getitem__)
    merges = [m if isinstance(m, str) else " ".join(m) for m in tree["model"]["merges"]]
    kinds = [
        gguf.TokenType.CONTROL
        if token in SPECIAL
        else gguf.TokenType.USER_DEFINED
        if token in FIXED
        else gguf.TokenType.NORMAL
        for token in tokens
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, default=Path("build"))
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--type", choices=("F32", "Q8_0", "Q5_0", "Q4_0"), default="Q8_0")
    options = parser.parse_args()
    write(options.folder, options.to, Kind[options.type])
    print(f"{options.to}: {options.to.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
