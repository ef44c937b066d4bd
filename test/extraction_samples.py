"""A data set to extract, the command that does so, and what it made."""
import cv2
import numpy as np

IMAGES = 24
SIZE = '240x174'


def make_poster(data, images=IMAGES):
    """A folder of one's own: a long poster, photographed piece by piece, twice."""
    rng = np.random.default_rng(3)
    width = 100 * images + 800
    poster = cv2.resize(rng.integers(0, 256, (22, width // 8, 3), dtype=np.uint8), (width, 174),
                        interpolation=cv2.INTER_CUBIC)
    for folder, offset, noise in (('references', 0, 0), ('queries', 12, 8)):
        (data / 'poster' / folder).mkdir(parents=True)
        for number in range(images):
            piece = poster[:, offset + 100 * number:][:, :240]
            piece = np.clip(piece + rng.normal(0, noise, piece.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(data / 'poster' / folder / f'@{100 * number + offset}@0@{number}@.png'), piece)


def command(data, action, *more):
    return ['reproduce', action, '--data', str(data), '--dataset', 'poster', '--size', SIZE, *more]


def extracted(data):
    """All that was extracted, and when."""
    return {path.relative_to(data): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in (data / 'poster' / 'out').rglob('[!.]*.npz')}
