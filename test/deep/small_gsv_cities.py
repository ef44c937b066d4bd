"""A miniature of GSV-Cities: photographs that come with scikit-image as places, seen with small shifts and lights."""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from skimage import data

CITIES = {'London': ('astronaut', 'coffee', 'chelsea'), 'OSL': ('rocket', 'brick', 'grass')}
VIEWS = 5
_HEADER = 'place_id,year,month,northdeg,city_id,lat,lon,panoid'


def save_gsv_cities(root: Path, views: int = VIEWS) -> Path:
    """Write Dataframes and Images; place 7 of each city has too few images to be trained on."""
    generator = np.random.default_rng(0)
    (root / 'Dataframes').mkdir(parents=True)
    for city, photographs in CITIES.items():
        folder, rows = root / 'Images' / city, [_HEADER]
        folder.mkdir(parents=True)
        for place, photograph in enumerate((*photographs, photographs[0]), 4):
            for view in range(views if place < 7 else 3):
                lat, lon = f'51.{place}37{view}', f'-0.1{place}'
                rows.append(f'{place},2015,{view + 1},{9 * view},{city},{lat}0,{lon},pano_{place}-{view}')
                when = f'2015_0{view + 1}_{9 * view:03d}'
                name = f'{city}_000000{place}_{when}_{lat.rstrip("0")}_{lon}_pano_{place}-{view}.jpg'
                cv2.imwrite(str(folder / name), _view(getattr(data, photograph)(), generator)[..., ::-1])
        encoding = 'utf-8-sig' if city == 'OSL' else 'utf-8'  # as a spreadsheet saves it
        (root / 'Dataframes' / f'{city}.csv').write_text('\n'.join(rows) + '\n', encoding=encoding)
    return root


def _view(photograph: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(210, 280, 3) uint8, somewhere near the middle."""
    image = np.dstack([photograph] * 3) if photograph.ndim == 2 else photograph
    image = cv2.resize(image, (360, 280), interpolation=cv2.INTER_AREA)
    top, left = generator.integers(0, 70), generator.integers(0, 80)
    light = generator.uniform(0.7, 1.2)
    return np.clip(image[top:top + 210, left:left + 280] * light, 0, 255).astype(np.uint8)
