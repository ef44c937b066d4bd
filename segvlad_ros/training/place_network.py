"""The network that is fine-tuned: NetVLAD (Arandjelovic et al., 2016) on the patches of DINOv2 (segvlad-spec.md 14)."""
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from segvlad_ros.description.arrays import unit_rows
from segvlad_ros.description.vocabulary import fit_vocabulary
from segvlad_ros.features.dinov2 import CELL, Dinov2Network, network_input, resampled_positions
from segvlad_ros.features.dinov2_weights import architecture
from segvlad_ros.io.devices import torch_device
from segvlad_ros.io.extras import import_extra

if TYPE_CHECKING:
    import torch

# Share of a cell that goes to its second nearest cluster, over the first one's, when NetVLAD begins.
_SECOND_SHARE = 0.01
# Names of the research code, in front of the official ones of DINOv2.
_BACKBONE = 'backbone.model.'


class PlaceNetwork:
    """Images to one vector each. The last blocks and the norm of the backbone are trained, and all of NetVLAD.

    :param weights: of DINOv2 by official names, see :func:`segvlad_ros.features.dinov2_weights.load_weights`;
        they are copied
    :param trained_blocks: how many of the last ones
    :param clusters: K of NetVLAD
    :param device: 'cpu', 'cuda' or 'cuda:N', where the backbone computes in mixed precision
    """

    def __init__(self, weights: Mapping[str, Any], trained_blocks: int, clusters: int, device: str = 'cpu') -> None:
        torch = import_extra('torch')
        self.device = torch_device(device)
        prefix = architecture(weights).prefix
        self._weights = {name[len(prefix):]: torch.as_tensor(value).detach().clone().float()
                         for name, value in weights.items() if name.startswith(prefix)}
        found = architecture(self._weights)
        self._backbone = Dinov2Network(self._weights, found, 'patches', 0, None)
        module = self._backbone.module.to(self.device)
        for part in (*module['blocks'][max(0, found.depth - trained_blocks):], module['norm']):
            part.requires_grad_(True)
        self._centroids, self._assignment = (torch.nn.Parameter(torch.zeros(clusters, found.dimension,
                                                                            device=self.device)) for _ in range(2))
        self._positions: dict[tuple[int, int], torch.Tensor] = {}

    @property
    def trained(self) -> list[torch.nn.Parameter]:
        """All parameters that training changes."""
        backbone = self._backbone.module.parameters()
        return [*(parameter for parameter in backbone if parameter.requires_grad), self._centroids, self._assignment]

    def cells(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, h, w, 3) uint8 RGB, of whole cells, to the features of all cells, (B, N, D) float32."""
        torch = import_extra('torch')
        grid = pixels.shape[1] // CELL, pixels.shape[2] // CELL
        if grid not in self._positions:
            self._positions[grid] = resampled_positions(self._backbone.positions, *grid).to(self.device)
        with torch.autocast('cuda', torch.float16, enabled=self.device.type == 'cuda'):
            return self._backbone(network_input(pixels, self.device), self._positions[grid]).float()

    def describe(self, pixels: torch.Tensor) -> torch.Tensor:
        """Likewise to one unit vector an image, (B, K*D) float32.

        Cells are shared softly among the clusters; the residuals of each cluster are summed and normalised.
        """
        normalize = import_extra('torch').nn.functional.normalize
        cells = normalize(self.cells(pixels), dim=2)
        shares = (cells @ self._assignment.T).softmax(dim=2)
        residuals = shares.transpose(1, 2) @ cells - shares.sum(dim=1)[:, :, None] * self._centroids
        return normalize(normalize(residuals, dim=2).flatten(1), dim=1)

    def start_clusters(self, cells: np.ndarray, seed: int) -> None:
        """Let NetVLAD begin with the clusters of some cells, assigned nearly hard.

        :param cells: (n, D) float32
        """
        torch = import_extra('torch')
        centres = fit_vocabulary(cells, len(self._centroids), seed).centres
        units = unit_rows(centres)
        second, first = np.sort(unit_rows(cells) @ units.T, axis=1)[:, -2:].T
        sharpness = -np.log(_SECOND_SHARE) / np.mean(first - second)
        with torch.no_grad():
            self._centroids.copy_(torch.from_numpy(centres))
            self._assignment.copy_(torch.from_numpy((sharpness * units).astype(np.float32)))

    def state(self) -> dict[str, torch.Tensor]:
        """All weights on the CPU, as the research code names them; those that are not trained as they came."""
        trained = self._backbone.module.state_dict()
        official = self._weights | {official: trained[ours] for ours, official in self._backbone.names.items()}
        state = {_BACKBONE + name: value for name, value in official.items()}
        state |= {'aggregator.centroids': self._centroids.detach(),
                  'aggregator.conv.weight': self._assignment.detach()[:, :, None, None]}
        return {name: value.cpu() for name, value in state.items()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the weights of a :meth:`state` of a network like this one."""
        torch = import_extra('torch')
        ours = self._backbone.module.state_dict()
        with torch.no_grad():
            for name, official in self._backbone.names.items():
                ours[name].copy_(state[_BACKBONE + official])
            self._centroids.copy_(state['aggregator.centroids'])
            self._assignment.copy_(state['aggregator.conv.weight'][:, :, 0, 0])
