"""SAM as the ONNX files that :mod:`segvlad_ros.segmentation.sam_onnx` runs: encoder, points and masks."""
from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.model_files import DATA_SUFFIX
from segvlad_ros.io.onnx_export import export_function, export_onnx
from segvlad_ros.io.whole_files import take_place
from segvlad_ros.segmentation.sam_decoder import PointDecoder
from segvlad_ros.segmentation.sam_onnx import files_of

_POINTS = 8
"""Of the example that the exporter sees; any number is answered."""


def export_sam(sam: Any, path: Path) -> float:
    """Write all files, when all are made.

    :param sam: a ``segment_anything.modeling.Sam`` on the CPU, in evaluation mode
    :param path: of the encoder; the others stand beside it, see :func:`segvlad_ros.segmentation.sam_onnx.files_of`
    :return: the smallest cosine between a vector of ONNX Runtime and of PyTorch
    :raises SegvladError: see :func:`segvlad_ros.io.onnx_export.export_onnx`
    """
    encoder = sam.image_encoder
    side = encoder.img_size
    points, masks = _decoder_graphs(sam)
    width, cells = sam.prompt_encoder.embed_dim, sam.prompt_encoder.image_embedding_size[0]
    channels = sam.mask_decoder.output_upscaling[3].out_channels
    candidates = sam.mask_decoder.num_mask_tokens - 1

    def prompts(seed: int) -> dict[str, np.ndarray]:
        draw = np.random.default_rng(seed)
        return {'embedding': 0.1 * draw.standard_normal((1, width, cells, cells), np.float32),
                'points': draw.uniform(0, side, (_POINTS + seed, 2)).astype(np.float32)}

    def drawing(seed: int) -> dict[str, np.ndarray]:
        draw, count = np.random.default_rng(seed), _POINTS + seed
        return {'tokens': draw.standard_normal((count, cells ** 2, width), np.float32),
                'embeddings': draw.standard_normal((count, candidates, channels), np.float32)}

    with tempfile.TemporaryDirectory(prefix=f'.{path.name}.', dir=path.parent) as folder:
        written = files_of(Path(folder) / path.name)
        least = min(
            export_onnx(encoder, (side, side), written[0]),
            export_function(points, prompts, written[1], outputs=('quality', 'embeddings', 'tokens'),
                            any_number={'points'}),
            export_function(masks, drawing, written[2], outputs=('logits',), any_number={'tokens', 'embeddings'}))
        for file in written:
            for name in (file.name, file.name + DATA_SUFFIX):
                if (made := file.with_name(name)).is_file():
                    take_place(made, path.with_name(name))
                else:
                    path.with_name(name).unlink(missing_ok=True)  # of another network, which these files had before
    return least


def _decoder_graphs(sam: Any) -> tuple[Any, Any]:
    """The halves of the decoder as torch modules: masks are drawn only of points whose predicted IoU passes."""
    torch = import_extra('torch')
    decoder = PointDecoder(sam)

    class PointsGraph(torch.nn.Module):
        """Image embedding and points to predicted IoU, mask embeddings and image tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.sam = sam  # so that its weights are those of the module

        def forward(self, embedding: Any, points: Any) -> tuple[Any, Any, Any]:
            return decoder.decode(decoder.prepare(embedding[0]), decoder.embed_points(points))

    class MasksGraph(torch.nn.Module):
        """Image tokens and mask embeddings to low-resolution logits."""

        def __init__(self) -> None:
            super().__init__()
            self.sam = sam

        def forward(self, tokens: Any, embeddings: Any) -> Any:
            return decoder.logits(tokens, embeddings)

    return PointsGraph(), MasksGraph()
