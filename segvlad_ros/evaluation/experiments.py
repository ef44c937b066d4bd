"""The experiments of the paper, under the names of the research code (segvlad-spec.md 13): what differs is a column."""
from __future__ import annotations

from dataclasses import dataclass

from segvlad_ros.types import SegvladError

VOCABULARIES = ('domain', 'map')
"""Words of a kind of place (indoor, urban, aerial), or of the data set's own references."""

FINETUNED = 'NVFinetuned'
"""End of the names of words that are of the fine-tuned network."""
AUTHORS_WORDS = 'cache/vocabulary/dinov2_vitg14/l31_value_c32'
"""Folder of the research code with a folder for each vocabulary."""


@dataclass(frozen=True)
class PaperExperiment:
    """One row of the table.

    :ivar order: hops in the segments' neighbourhood graph that are described together; None: the whole image, AnyLoc
    :ivar pca: whether descriptors are projected by a whitened PCA of the references' segments
    :ivar results: end of the name of a file of results
    """

    name: str
    order: int | None
    pca: bool
    results: str

    def pca_file(self, dataset: str, vocabulary: str, finetuned: bool) -> str:
        """Name of the fitted PCA, as the research code calls it."""
        ending = ('_map' if vocabulary == 'map' else '') + ('_dinoNV' if finetuned else '')
        return f'{dataset}_r_fitted_pca_model_order{self.order}{ending}.pkl'


EXPERIMENTS = {row.name: row for row in (
    PaperExperiment('exp0_global_SegLoc_VLAD_PCA_o3', 3, True, '_results_exp11_global_SegLoc_VLAD_PCA_o3.pkl'),
    PaperExperiment('exp1_global_Anyloc', None, False, '_results_exp1_global_Anyloc_VLAD.pkl'),
    PaperExperiment('exp4_global_SegLoc_VLAD_o0', 0, False, '_results_exp4_global_SegLoc_VLAD_o0.pkl'),
    PaperExperiment('exp5_global_SegLoc_VLAD_o1', 1, False, '_results_exp5_global_SegLoc_VLAD_o1.pkl'),
    PaperExperiment('exp6_global_SegLoc_VLAD_o2', 2, False, '_results_exp6_global_SegLoc_VLAD_o2.pkl'),
    PaperExperiment('exp7_global_SegLoc_VLAD_o3', 3, False, '_results_exp7_global_SegLoc_VLAD_o3.pkl'),
    PaperExperiment('exp8_global_SegLoc_VLAD_PCA_o0', 0, True, 'results_exp8_global_SegLoc_VLAD_PCA_o0.pkl'),
    PaperExperiment('exp9_global_SegLoc_VLAD_PCA_o1', 1, True, '_results_exp9_global_SegLoc_VLAD_PCA_o1.pkl'),
    PaperExperiment('exp10_global_SegLoc_VLAD_PCA_o2', 2, True, '_results_exp10_global_SegLoc_VLAD_PCA_o2.pkl'),
)}


def experiment(name: str) -> PaperExperiment:
    """One of :data:`EXPERIMENTS`.

    :raises SegvladError: there is none of this name
    """
    if name not in EXPERIMENTS:
        raise SegvladError(f'no experiment {name!r}: choose one of {", ".join(EXPERIMENTS)}')
    return EXPERIMENTS[name]
