"""SAM's mask decoder for a grid of points over one image: what depends on the image alone is computed once.

The stock decoder copies the image embedding for every point and projects each copy six times a layer. Here the first
layer's image-side projections are shared by all points, and from the second layer on, where the image tokens
differ between points, the projection matrices are moved to the few prompt tokens: ``q (W x)`` is ``(q W) x``. Masks are
drawn only for points whose predicted IoU passes. All of it is the same function up to float rounding.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from segvlad_ros.io.extras import import_extra


@dataclass(frozen=True)
class ImageSide:
    """What the first layer needs of one image, shared by all points.

    :ivar tokens: (N, C) float32, image embedding plus the "no mask" prompt
    :ivar keys, values: (heads, N, c), the image as seen by the prompt tokens
    :ivar queries: (heads, N, c), the image as it looks at the prompt tokens
    """

    tokens: Any
    keys: Any
    values: Any
    queries: Any


class PointDecoder:
    """Decodes single-point prompts; see the module's text.

    :param sam: a ``segment_anything.modeling.Sam`` in evaluation mode, on its final device
    """

    def __init__(self, sam: Any) -> None:
        self._torch = import_extra('torch')
        self._functional = import_extra('torch.nn.functional')
        self._prompts = sam.prompt_encoder
        self._decoder = sam.mask_decoder
        self._layers = list(sam.mask_decoder.transformer.layers)
        self.side = sam.prompt_encoder.image_embedding_size[0]
        self._positions = sam.prompt_encoder.get_dense_pe()[0].flatten(1).T.contiguous()
        weights = sam.mask_decoder.output_upscaling
        # a transposed convolution whose stride is its kernel is one matrix product a pixel
        self._upscale = [(weights[i].weight.permute(0, 2, 3, 1).flatten(1).contiguous(), weights[i].bias.repeat(4))
                         for i in (0, 3)]

    def embed_points(self, points: Any) -> Any:
        """Prompt tokens of foreground points; they do not depend on the image.

        :param points: (P, 2) float64, x and y, pixels of the network's input
        :return: (P, T, C) float32, output tokens first, then the prompt's own
        """
        torch = self._torch
        labels = torch.ones((len(points), 1), dtype=torch.int, device=points.device)
        sparse, _ = self._prompts(points=(points[:, None], labels), boxes=None, masks=None)
        output = torch.cat([self._decoder.iou_token.weight, self._decoder.mask_tokens.weight])
        return torch.cat([output.expand(len(points), -1, -1), sparse], dim=1)

    def prepare(self, embedding: Any) -> ImageSide:
        """Project one image for the first layer.

        :param embedding: (C, side, side) float32, output of the image encoder
        """
        tokens = embedding.flatten(1).T + self._prompts.no_mask_embed.weight
        placed = tokens + self._positions
        look, answer = self._layers[0].cross_attn_token_to_image, self._layers[0].cross_attn_image_to_token
        return ImageSide(tokens, _heads(look, look.k_proj(placed)), _heads(look, look.v_proj(tokens)),
                         _heads(answer, answer.q_proj(placed)))

    def decode(self, image: ImageSide, prompts: Any) -> tuple[Any, Any, Any]:
        """Run the transformer for one batch of points.

        :param prompts: (B, T, C), rows of :meth:`embed_points`
        :return: predicted IoU (B, 3); mask embeddings (B, 3, C / 8); image tokens (B, N, C)
        """
        queries, tokens = prompts, image.tokens.expand(len(prompts), -1, -1)
        for number, layer in enumerate(self._layers):
            if number == 0:
                queries = layer.norm1(layer.self_attn(q=queries, k=queries, v=queries))
                looked = self._look_shared(layer.cross_attn_token_to_image, queries + prompts, image)
            else:
                placed = queries + prompts
                queries = layer.norm1(queries + layer.self_attn(q=placed, k=placed, v=queries))
                positioned = tokens + self._positions
                looked = self._look(layer.cross_attn_token_to_image, queries + prompts, positioned, tokens)
            queries = layer.norm2(queries + looked)
            queries = layer.norm3(queries + layer.mlp(queries))
            answer = layer.cross_attn_image_to_token
            scores = (self._answer_shared(answer, queries + prompts, image) if number == 0
                      else self._answer(answer, queries + prompts, positioned))
            tokens = layer.norm4(self._mix(answer, scores, queries, tokens))
        transformer = self._decoder.transformer
        final = self._look(transformer.final_attn_token_to_image, queries + prompts, tokens + self._positions, tokens)
        return (*self._heads_of_masks(transformer.norm_final_attn(queries + final)), tokens)

    def logits(self, tokens: Any, embeddings: Any) -> Any:
        """Draw the masks of some points.

        :param tokens: (n, N, C) image tokens of those points
        :param embeddings: (n, m, C / 8) mask embeddings
        :return: (n, m, 4 side, 4 side) float32 logits
        """
        activate = self._functional.gelu
        (first, first_bias), (second, second_bias) = self._upscale
        norm = self._decoder.output_upscaling[1]
        drawn = self._torch.addmm(first_bias, tokens.flatten(0, 1), first).view(-1, norm.weight.numel())
        drawn = activate(self._functional.layer_norm(drawn, norm.weight.shape, norm.weight, norm.bias, norm.eps))
        drawn = activate(self._torch.addmm(second_bias, drawn, second))
        count, masks, channels = embeddings.shape
        values = embeddings @ drawn.view(count, 16 * self.side ** 2, channels).transpose(1, 2)
        # (row, column) of the token, then of its 2 x 2 parts, then of theirs
        values = values.view(count, masks, self.side, self.side, 2, 2, 2, 2)
        return values.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(count, masks, 4 * self.side, 4 * self.side)

    def _heads_of_masks(self, tokens: Any) -> tuple[Any, Any]:
        """Predicted IoU and mask embedding of the masks that a single point asks for (all but the first)."""
        decoder = self._decoder
        quality = decoder.iou_prediction_head(tokens[:, 0])[:, 1:]
        embeddings = [decoder.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in range(1, decoder.num_mask_tokens)]
        return quality, self._torch.stack(embeddings, dim=1)

    def _look_shared(self, attention: Any, queries: Any, image: ImageSide) -> Any:
        """Prompt tokens look at the image; all points in one attention, since they share its keys."""
        batch, count, _ = queries.shape
        asked = _heads(attention, attention.q_proj(queries).flatten(0, 1))
        seen = self._functional.scaled_dot_product_attention(asked[None], image.keys[None], image.values[None])[0]
        return attention.out_proj(seen.transpose(0, 1).reshape(batch, count, -1))

    def _look(self, attention: Any, queries: Any, positioned: Any, tokens: Any) -> Any:
        """Prompt tokens look at their own copy of the image; the bias of the keys cancels in the softmax."""
        batch, count, _ = queries.shape
        asked = self._absorb(attention, attention.q_proj(queries), attention.k_proj)
        # with one head of its own PyTorch would not fuse this, and its exporter to ONNX knows it with four axes only
        scale = 1 / math.sqrt(attention.internal_dim // attention.num_heads)
        seen = self._torch.softmax(asked @ positioned.transpose(1, 2) * scale, dim=2) @ tokens
        weight = attention.v_proj.weight.view(attention.num_heads, -1, tokens.shape[-1])
        seen = seen.view(batch, attention.num_heads, count, -1) @ weight.transpose(1, 2)
        return attention.out_proj(seen.transpose(1, 2).reshape(batch, count, -1) + attention.v_proj.bias)

    def _answer_shared(self, attention: Any, queries: Any, image: ImageSide) -> Any:
        """How much each image token looks at each prompt token, first layer: (B, heads, T, N)."""
        batch, count, _ = queries.shape
        keys = _heads(attention, attention.k_proj(queries).flatten(0, 1))
        scores = keys @ image.queries.transpose(1, 2)
        return scores.view(attention.num_heads, batch, count, -1).transpose(0, 1)

    def _answer(self, attention: Any, queries: Any, positioned: Any) -> Any:
        """The same in later layers, where every point has its own image tokens."""
        batch, count, _ = queries.shape
        keys = attention.k_proj(queries)
        bias = (keys * attention.q_proj.bias).view(batch, count, attention.num_heads, -1).sum(-1)
        scores = self._absorb(attention, keys, attention.q_proj) @ positioned.transpose(1, 2)
        return scores.view(batch, attention.num_heads, count, -1) + bias.transpose(1, 2)[..., None]

    def _mix(self, attention: Any, scores: Any, queries: Any, tokens: Any) -> Any:
        """Image tokens plus what they take from the prompt tokens, the output projection moved to the latter."""
        torch = self._torch
        scale = 1 / math.sqrt(attention.internal_dim // attention.num_heads)
        shares = torch.softmax(scores * scale, dim=2).flatten(1, 2)
        values = _split(attention, attention.v_proj(queries))
        weight = attention.out_proj.weight.view(-1, attention.num_heads, values.shape[-1])
        # the shares of each head sum to one, so that each head can carry its part of the output's bias
        values = (values @ weight.permute(1, 2, 0)).flatten(1, 2) + attention.out_proj.bias / attention.num_heads
        return torch.baddbmm(tokens, shares.transpose(1, 2), values)

    def _absorb(self, attention: Any, projected: Any, other: Any) -> Any:
        """(B, T, heads x c) tokens times the weight of the other side's projection: (B, heads x T, C)."""
        weight = other.weight.view(attention.num_heads, -1, other.weight.shape[1])
        return (_split(attention, projected) @ weight).flatten(1, 2)


def _split(attention: Any, tokens: Any) -> Any:
    """(B, T, heads x c) to (B, heads, T, c)."""
    return tokens.view(*tokens.shape[:2], attention.num_heads, -1).transpose(1, 2)


def _heads(attention: Any, tokens: Any) -> Any:
    """(N, heads x c) to (heads, N, c)."""
    return tokens.view(len(tokens), attention.num_heads, -1).transpose(0, 1)
