"""What holds of every network that is converted into one ONNX file."""


def same_bytes_wherever_made(write_network, seeded, converted, folder):
    """Its digest is part of what maps and calibrations are known by.

    :param seeded: makes the network of a seed, 0 without one
    :param converted: the file of the checkpoint of seed 0
    """
    write_network(seeded(), folder / 'again.onnx')
    assert (folder / 'again.onnx').read_bytes() == converted.read_bytes()
    write_network(seeded(1), folder / 'other.onnx')
    assert (folder / 'other.onnx').read_bytes() != converted.read_bytes()
