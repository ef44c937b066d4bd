"""The paper's experiments on a miniature (place_miniatures.py), as the specification has them, word for word."""
from collections import Counter

import faiss
import literal
import numpy as np

DIMENSION = 12  # after the PCA


def literal_pca(rows):
    """Mean, components and scale of a whitened PCA, from the eigenvectors of the covariance."""
    mean = rows.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    kept = np.argsort(-values)[:DIMENSION]
    return mean, vectors[:, kept].T, 1 / np.sqrt(values[kept])


def literal_recall(ranked, truth):
    """segvlad-spec.md 10.3."""
    hits, asked = np.zeros(5), 0
    for images, true in zip(ranked, truth):
        if true:
            asked += 1
            first = [rank for rank, image in enumerate(images) if image in true]
            if first:
                hits[first[0]] += 1
    return (np.cumsum(hits) / asked).tolist()


def literal_search(miniature, row, words='domain'):
    """Similarities, and images, of the first 50 of ``IndexFlatL2``, and the rows of each query."""
    references, queries = (miniature.literal_rows(side, row.order, words) for side in 'rq')
    if row.pca:
        projection = literal_pca(np.concatenate(references))
        references, queries = ([literal.pca(table, *projection) for table in side] for side in (references, queries))
    index = faiss.IndexFlatL2(references[0].shape[1])
    index.add(np.concatenate(references).astype(np.float32))
    distances, found = index.search(np.concatenate(queries).astype(np.float32), min(50, index.ntotal))
    image_of, ends = np.repeat(np.arange(len(references)), list(map(len, references))), np.cumsum(
        [0, *map(len, queries)])
    return 2 - distances, image_of[found], [slice(*pair) for pair in zip(ends[:-1], ends[1:])]


def literal_result(miniature, row, words='domain', rule='weighted'):
    similarities, images, slices = literal_search(miniature, row, words)
    if row.order is None:
        return literal_recall(images[:, :5].tolist(), miniature.truth)
    if rule == 'weighted':
        return literal_recall(literal.vote(similarities, images, slices, 5), miniature.truth)
    return literal_recall([OTHER_RULES[rule](similarities[rows], images[rows]) for rows in slices], miniature.truth)


def by_count(images):
    """Ascending counts, reversed: of equals the larger number comes first (segvlad-spec.md 10.2)."""
    counts = Counter(images.ravel().tolist())
    return sorted(counts, key=lambda image: (counts[image], image), reverse=True)


def max_sim(similarities, images):
    best = sorted(range(len(images)), key=lambda row: -similarities[row, 0])[:50]
    return list(dict.fromkeys(images[row, 0] for row in best))[:5]


def max_seg_sim(similarities, images):
    nearest = {image: max(similarities[images[:, 0] == image, 0]) for image in by_count(images[:, 0])[:6]}
    return sorted(reversed(nearest), key=lambda image: -nearest[image])[:5]  # flipped: of equals the later one first


OTHER_RULES = {'max_sim': max_sim, 'max_seg': lambda _, images: by_count(images[:, 0])[:5], 'max_seg_sim': max_seg_sim,
               'max_seg_topk': lambda _, images: by_count(images)[:5]}
