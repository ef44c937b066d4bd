"""SAM ViT-H and DINOv2 ViT-g at their real sizes with random weights, one 640x480 keyframe, stage by stage.

Needs a CUDA GPU and writes benchmark/results/; ``--device cpu --small`` tries the measurement itself.
"""
import argparse
import json
import sys
from pathlib import Path

from segvlad_ros.evaluation.benchmark.keyframe import measure_keyframe
from segvlad_ros.types import SegvladError


def main() -> int:
    """Measure both precisions and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--small', action='store_true', help='small networks, which say nothing about speed')
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--precision', action='append', choices=('float32', 'bfloat16'), help='default: both')
    parser.add_argument('--peak-tflops', type=float, default=790.0, help='of the GPU in bfloat16 (H200: 790)')
    parser.add_argument('--output', type=Path, help='default: benchmark/results/keyframe_GPU.json, unless --small')
    args = parser.parse_args()
    try:
        reports = [measure_keyframe(args.device, precision, args.repeats, args.small, args.peak_tflops)
                   for precision in args.precision or ('bfloat16', 'float32')]
    except SegvladError as error:
        print(f'gpu_keyframe: {error}', file=sys.stderr)
        return 2
    text = json.dumps(reports, indent=1)
    print(text)
    output = args.output
    if output is None and not args.small:
        name = reports[0]['machine'].get('gpu', 'cpu').replace(' ', '_').lower()
        output = Path(__file__).parent / f'results/keyframe_{name}.json'
    if output:
        output.write_text(text + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
