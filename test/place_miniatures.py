"""The paper's data sets in miniature, in their own layouts: empty images, and the truth a second time, literally.

``MINIATURES[name](folder, rng)`` writes one and returns the numbers of the true references of each query.
"""
import pickle
from functools import cache
from pathlib import Path

import cv2
import literal
import numpy as np
from made_archives import MadeArchive

from segvlad_ros.evaluation.place_datasets import DATASETS
from segvlad_ros.types import FeatureGrid, Masks

REFERENCES, QUERIES = 20, 16
UNIT = '1 0 0\n0 1 0\n0 0 1\n'


def pairs_within(references, queries, radius):
    """Numbers of the references within a radius, pair by pair."""
    return [[number for number, one in enumerate(references) if np.linalg.norm(one - query) <= radius]
            for query in queries]


def names_of(side, count):
    return [f'{side}{number}.jpg' for number in range(count)]  # 10 comes after 9 in natural order only


def write_images(folder, names):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def scattered(rng, radius):
    """References around, and queries near some of them."""
    references = rng.uniform(0, 5 * radius, (REFERENCES, 3))
    return references, references[:QUERIES] + rng.normal(0, radius / 2, (QUERIES, 3))


def make_baidu(folder, rng):
    references, queries = scattered(rng, 10)
    for side, table, images in (('training', references, 'training_images_undistort'),
                                ('query', queries, 'query_images_undistort')):
        write_images(folder / images, names_of(side, len(table)))
        (folder / f'{side}_gt').mkdir()
        for number, centre in enumerate(table):
            (folder / f'{side}_gt' / f'{side}{number}.camera').write_text(
                f'{UNIT}0 0\n{UNIT}' + ' '.join(map(repr, centre.tolist())) + '\n640 480\n')
    return pairs_within(references, queries, 10)


def make_seventeen_places(folder, rng):
    write_images(folder / 'ref', names_of('r', 40))
    write_images(folder / 'query', names_of('q', 40))
    return [list(range(number - 15, number + 16)) for number in range(40)]


def make_inside_out(folder, rng):
    references, queries = (table[:, :2] for table in scattered(rng, 50))
    write_images(folder / 'ref_images', names_of('r', len(references)))
    write_images(folder / 'query_images', names_of('q', len(queries)))
    (folder / 'gps_db_correct.pkl').write_bytes(pickle.dumps(references))
    (folder / 'gps_q_new.pkl').write_bytes(pickle.dumps([tuple(row) for row in queries.tolist()]))
    return pairs_within(references, queries, 50)


def with_utm(rng, folder, sides):
    """Names with coordinates, the lists of them as the folders sort, and the truth."""
    tables = [table[:, :2] + [550_000, 4_180_000] for table in scattered(rng, 25)]
    names = [[f'@{east:.2f}@{north:.2f}@{number}@.jpg' for number, (east, north) in enumerate(table)]
             for table in tables]
    places = []
    for side, some in zip(sides, names):
        write_images(folder / side, some)
        some.sort(key=lambda name: [float(part) for part in name.split('@')[1:3]])  # as long as all are alike
        places.append(np.array([[float(part) for part in name.split('@')[1:3]] for name in some]))
    return names, pairs_within(*places, 25)


def make_sfxl(folder, rng):
    return with_utm(rng, folder, ('database', 'queries'))[1]


def make_pitts(folder, rng):
    beside = folder / 'pitts30k' / 'images' / 'test'
    names, truth = with_utm(rng, beside, ('database', 'queries'))
    for side, some in zip(('database', 'queries'), names):
        np.save(beside / f'{side}.npy', [f'images/test/{side}/{name}' for name in rng.permutation(some)])
    return truth


def make_amstertime(folder, rng):
    write_images(folder / 'new', names_of('n', REFERENCES))
    write_images(folder / 'old', names_of('o', REFERENCES))
    return [[number] for number in range(REFERENCES)]


def make_vpair(folder, rng):
    write_images(folder / 'reference_views', names_of('r', REFERENCES))
    write_images(folder / 'queries', names_of('q', QUERIES))
    truth = [sorted(rng.choice(REFERENCES, rng.integers(0, 4), replace=False).tolist()) for _ in range(QUERIES)]
    table = np.empty((QUERIES, 2), object)
    for number, true in enumerate(truth):
        table[number] = [number, np.array(true, int)]
    np.save(folder / 'vpair_gt.npy', table)
    return truth


def make_msls(city):
    """Lists of both cities in any order, with images that nobody asks for; of one city the images, too."""
    def make(folder, rng):
        database = [f'train_val/{which}/database/images/{which}_{number}.jpg' for which in ('cph', 'sf')
                    for number in range(REFERENCES)]
        asked = [f'train_val/{which}/query/images/q{number}.jpg' for which in ('cph', 'sf')
                 for number in range(QUERIES)]
        database, asked = rng.permutation(database), rng.permutation(asked)
        chosen = np.sort(rng.choice(len(asked), 2 * QUERIES - 3, replace=False))
        true = np.empty(len(chosen), object)
        for row, number in enumerate(chosen):
            of_city = [at for at, name in enumerate(database) if asked[number].split('/')[1] in name.split('/')]
            true[row] = rng.choice(of_city, rng.integers(1, 4), replace=False)
        beside = folder.parent / 'msls_npy_files'
        beside.mkdir()
        for name, table in (('dbImages', database), ('qImages', asked), ('qIdx', chosen), ('pIdx', true)):
            np.save(beside / f'msls_val_{name}.npy', table)
        references = names_of(f'{city}_', REFERENCES)
        rows = {asked[number]: true[row] for row, number in enumerate(chosen) if f'/{city}/' in asked[number]}
        queries = sorted(rows, key=lambda name: int(name.rsplit('/q', 1)[1][:-4]))
        write_images(folder / 'database', references)
        write_images(folder / 'query', [Path(name).name for name in queries])
        return [sorted(references.index(Path(database[at]).name) for at in rows[name]) for name in queries]
    return make


MINIATURES = {'baidu': make_baidu, '17places': make_seventeen_places, 'InsideOut': make_inside_out, 'SFXL': make_sfxl,
              'mslsSF': make_msls('sf'), 'mslsCPH': make_msls('cph'), 'pitts': make_pitts,
              'AmsterTime': make_amstertime, 'VPAir': make_vpair}

WORDS, DEPTH, ROWS, COLUMNS = 6, 8, 3, 4
ALIKE = 0.65
"""Share of a query's segments that look like its place; the others look like any other."""


class Miniature:
    """One data set with features and masks of its images, in the authors' archives and as they were made.

    Images are made up of segments that look like their place, more or less.

    :param data: folder of the data sets, where the words lie, too
    """

    def __init__(self, data, name):
        rng = np.random.default_rng([7, list(DATASETS).index(name)])
        self.name, self.dataset, self.rng = name, DATASETS[name], rng
        self.truth = MINIATURES[name](data / name, rng)
        self.centres = {words: rng.normal(0, 1, (WORDS, DEPTH)).astype(np.float32) for words in ('domain', 'tuned')}
        for words, table in self.centres.items():
            np.save(data / f'{words}.npy', table)
        names = [[path.name for path in paths] for paths in self.dataset.images(data)]
        self.looks = rng.normal(0, 0.7, (len(names[0]), ROWS * COLUMNS, DEPTH))
        self.words_of = rng.integers(0, WORDS, (len(names[0]), ROWS * COLUMNS))
        self.images = {'r': [self.image(number, 1.0) for number in range(len(names[0]))],
                       'q': [self.image(true[len(true) // 2] if true else 0, ALIKE) for true in self.valid_truth()]}
        self.cells = {side: [literal.incidence(masks, *self.dataset.size, 14) for masks, *_ in images]
                      for side, images in self.images.items()}
        self.write(data / name / 'out', names)

    def valid_truth(self):
        return [[number for number in true if 0 <= number < len(self.looks)] for true in self.truth]

    def image(self, place, alike):
        """(masks, features of the pre-trained network, and of the tuned one) of an image at a place."""
        height, width = 30, 40
        lines = [np.sort(self.rng.choice(np.arange(6, size - 6, 4), count - 1, replace=False))
                 for size, count in ((height, ROWS), (width, COLUMNS))]
        y, x = (np.searchsorted(line, np.arange(size), side='right') for line, size in zip(lines, (height, width)))
        segment_of_pixel = y[:, None] * COLUMNS + x
        masks = segment_of_pixel == np.arange(ROWS * COLUMNS)[:, None, None]
        rows, cols = (side // 14 for side in self.dataset.size[::-1])
        of_cell = cv2.resize(segment_of_pixel.astype(np.uint8), (cols, rows), interpolation=cv2.INTER_NEAREST).ravel()
        whose = np.where(self.rng.random(ROWS * COLUMNS) < alike, place, self.rng.integers(0, len(self.looks)))
        looks, words = self.looks[whose, np.arange(len(whose))], self.words_of[whose, np.arange(len(whose))]
        noise = self.rng.normal(0, 0.5, (len(of_cell), DEPTH))
        features = [(centres[words][of_cell] + looks[of_cell] + noise).astype(np.float32)
                    for centres in self.centres.values()]
        return masks, *features

    def write(self, out, names):
        out.mkdir()
        rows, cols = (side // 14 for side in self.dataset.size[::-1])
        for side, of_side in zip('rq', names):
            features, tuned, masks = (MadeArchive(out / self.dataset.archives(kind, side)[-1])
                                      for kind in ('dino', 'dinoNV', 'masks'))
            with features, tuned, masks:
                for image, (pixels, *tables) in zip(of_side, self.images[side]):
                    masks.add_masks(image, Masks(pixels, np.ones(len(pixels), np.float32)))
                    for archive, table in zip((features, tuned), tables):
                        archive.add_features(image, FeatureGrid(table, rows, cols))

    @cache  # noqa: B019
    def literal_rows(self, side, order, words='domain'):
        """The descriptors of each image; ``order`` None: of the whole image."""
        tables = []
        for (masks, *features), cells in zip(self.images[side], self.cells[side]):
            near = literal.adjacency(masks, order) if order else np.eye(1 if order is None else len(masks))
            tables.append(literal.segment_vlad(features[words == 'tuned'], cells if order is not None else
                                               np.ones((1, cells.shape[1]), bool), near, self.centres[words]))
        return tables
