"""``segvlad reproduce list``: what each experiment needs, what is there, and where to get the rest."""
from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from segvlad_ros.cli import OK
from segvlad_ros.evaluation.experiments import AUTHORS_WORDS, EXPERIMENTS, FINETUNED
from segvlad_ros.evaluation.extracted_dataset import extracted_path
from segvlad_ros.evaluation.place_datasets import DATASETS, SIDES, PlaceDataset
from segvlad_ros.types import SegvladError

_KINDS = {'features': 'dino', 'features of the fine-tuned network': 'dinoNV', 'masks': 'masks'}

_REST = """
Images go where it says "needed". For everything else there are two ways:
- features and masks: "segvlad reproduce extract" makes them with --preset segvlad (it needs a GPU, and the weights:
  segvlad weights fetch sam_vit_h dinov2_vitg14), or put the authors' archives into {data}/NAME/out;
- words: git clone https://github.com/AnyLoc/Revisit-Anything and copy the folders of its
  {words} to {data}/vocabulary, or --vocabulary map, which makes them
  from the data set's own references;
- the fine-tuned network (--finetuned): segvlad reproduce train, on GSV-Cities in {data}/gsv_cities
  (Dataframes/CITY.csv, Images/CITY/*.jpg; https://www.kaggle.com/datasets/amaralibey/gsv-cities).
The smallest start is 17places with its features and masks (no GPU):
  segvlad reproduce evaluate --data {data} --dataset 17places --experiment exp0_global_SegLoc_VLAD_PCA_o3
or, without any of it, rendered images and features that need no weights: segvlad reproduce miniature --data {data}
"""


def show(args: argparse.Namespace) -> int:
    """Print the list, of the data sets in ``args.data``."""
    rows = [_state(dataset, args.data) for dataset in DATASETS.values()]
    if args.json:
        print(json.dumps({'datasets': rows, 'experiments': [vars(row) for row in EXPERIMENTS.values()]}, indent=1))
        return OK
    for row in rows:
        print('\n'.join(_lines(row, args.data)))
    print(f'\n{"experiment":35} {"neighbours":11} PCA')
    for row in EXPERIMENTS.values():
        print(f'{row.name:35} {"whole image" if row.order is None else row.order!s:11} {"1024" if row.pca else "-"}')
    print(_REST.format(data=args.data, words=AUTHORS_WORDS), end='')
    return OK


def _state(dataset: PlaceDataset, data: Path) -> dict[str, Any]:
    try:
        references, queries = map(len, dataset.images(data))
        dataset.true_references(data)
        state, problem = f'{references} references, {queries} queries', ''
    except SegvladError as error:
        state, problem = 'not complete', str(error)
    found = [what for what, kind in _KINDS.items()
             if all(extracted_path(dataset, data, kind, side) is not None for side in SIDES)]
    words = data / 'vocabulary'
    found += [f'words of {name}' for name in (dataset.domain, dataset.domain + FINETUNED, dataset.name,
                                              dataset.name + FINETUNED) if [*(words / name).glob('c_centers.*')]]
    return {'name': dataset.name, 'state': state, 'problem': problem, 'found': found, 'references': dataset.references,
            'queries': dataset.queries, 'truth': dataset.needs, 'size': list(dataset.size), 'domain': dataset.domain,
            'paper': dataset.recall, 'source': dataset.source, 'licence': dataset.licence}


def _lines(row: dict[str, Any], data: Path) -> list[str]:
    lines = [f'{row["name"]:11} {row["state"]}; paper, recall@1 / @5: {row["paper"]}']
    if row['found']:
        lines.append(f'there: {", ".join(row["found"])}')
    if row['problem']:
        needed = [f'{row["references"]}/ (references)', f'{row["queries"]}/ (queries)',
                  *([f'{row["truth"]} (truth)'] if row['truth'] else [])]
        lines += [row['problem']] if (data / row['name']).is_dir() else []
        lines += [f'needed in {data / row["name"]}: {", ".join(needed)}', f'from {row["source"]}']
        if row['licence']:
            lines.append(f'licence: {row["licence"]}')
    return [lines[0], *(f'{"":11} {line}' for line in lines[1:])]
